import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { BrowserContext, Page } from 'playwright-core'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Contrast of text against what is behind it, whatever its size (WCAG 2.2 asks for 3 if it is large). */
const minimumContrast = 4.5

/** What axe-core finds wrong with the page, as rule and element. */
export async function findViolations(page: Page): Promise<string[]> {
  return page.evaluate<string[]>(`(async () => {
    if (!window.axe) { ${axe} }
    const { violations } = await axe.run(document)
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ' ' + html.slice(0, 200)))
  })()`)
}

/** How many pixels the page is wider than its window. */
export function sidewaysScroll(page: Page): Promise<number> {
  return page.evaluate<number>(
    'document.documentElement.scrollWidth - document.documentElement.clientWidth',
  )
}

/** Text whose colour is too near to any pixel behind it: gradients and pictures count, which axe-core leaves out. */
export async function findFaintText(page: Page, eye: Eye): Promise<string[]> {
  const texts = await page.evaluate<Text[]>(`(() => {
    const found = []
    const add = (text, element, { x, y, width, height }, inset) => found.push({
      text: text.trim().slice(0, 40), color: getComputedStyle(element).color,
      box: [x + scrollX + inset, y + scrollY + inset, width - 2 * inset, height - 2 * inset].map(Math.round),
    })
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
      const node = walker.currentNode
      const range = document.createRange()
      range.selectNodeContents(node)
      if (node.data.trim() !== '')
        for (const box of range.getClientRects()) add(node.data, node.parentElement, box, 0)
    }
    for (const field of document.querySelectorAll('input:not([type=hidden]), textarea'))
      add(field.name, field, field.getBoundingClientRect(), 4)
    const clear = new CSSStyleSheet()
    clear.replaceSync('*, ::placeholder, ::marker { color: transparent !important; caret-color: transparent !important; transition: none !important } input, textarea { -webkit-text-fill-color: transparent !important; resize: none !important } ::-webkit-datetime-edit, ::-webkit-calendar-picker-indicator, ::file-selector-button { opacity: 0 !important }')
    document.adoptedStyleSheets = [clear]
    return found
  })()`)
  const picture = (await page.screenshot({ fullPage: true })).toString('base64')
  await page.evaluate('document.adoptedStyleSheets = []')
  return eye.findFaint(picture, texts)
}

interface Text {
  text: string
  /** `rgb(1, 2, 3)` */
  color: string
  /** x, y, width, height */
  box: number[]
}

/** Reads pictures, on a page of its own that no policy binds. */
export class Eye {
  readonly #page: Page
  private constructor(page: Page) {
    this.#page = page
  }

  static async open(context: BrowserContext): Promise<Eye> {
    return new Eye(await context.newPage())
  }

  findFaint(picture: string, texts: readonly Text[]): Promise<string[]> {
    return this.#page.evaluate<string[]>(`(async () => {
      const answer = await fetch('data:image/png;base64,${picture}')
      const bitmap = await createImageBitmap(await answer.blob())
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height)
      const pen = canvas.getContext('2d')
      pen.drawImage(bitmap, 0, 0)
      const luminance = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        return 0.2126 * x + 0.7152 * y + 0.0722 * z
      }
      const faint = []
      for (const { text, color, box: [x, y, width, height] } of ${JSON.stringify(texts)}) {
        if (width <= 0 || height <= 0) continue
        const ink = luminance(color.match(/[\\d.]+/g).map(Number))
        const { data } = pen.getImageData(x, y, width, height)
        let worst = 21
        for (let at = 0; at < data.length; at += 8) {
          const page = luminance(data.subarray(at, at + 3))
          worst = Math.min(worst, (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05))
        }
        if (worst < ${minimumContrast}) faint.push(text + ' ' + color + ' ' + worst.toFixed(2))
      }
      return faint
    })()`)
  }
}

export interface Stop {
  name: string
  /** Pixels of the ring around what has the focus. */
  ring: number
}

/** Where the Tab key stops on a page, from the top to the end. */
export async function walkByTab(page: Page): Promise<Stop[]> {
  // Marks at both ends: Tab begins where the focus was last, and what comes after the end differs.
  await page.evaluate(`(() => {
    const mark = () => Object.assign(document.createElement('i'), { tabIndex: 0 })
    const [first, last] = [mark(), mark()]
    last.dataset.last = ''
    document.body.prepend(first)
    document.body.append(last)
    first.focus()
  })()`)
  const stops: Stop[] = []
  for (;;) {
    await page.keyboard.press('Tab')
    const stop = await page.evaluate<Stop | null>(`(() => {
      const element = document.activeElement
      if (!element || 'last' in element.dataset) return null
      const { outlineStyle, outlineWidth } = getComputedStyle(element)
      const name = element.labels?.[0]?.textContent ?? element.getAttribute('aria-label') ?? element.textContent
      return { name: name.replace(/\\s+/g, ' ').trim(), ring: outlineStyle === 'none' ? 0 : parseFloat(outlineWidth) }
    })()`)
    if (!stop) return stops
    stops.push(stop)
    if (stops.length > 100) throw new Error(`no way out by Tab: ${JSON.stringify(stops.slice(-5))}`)
  }
}
