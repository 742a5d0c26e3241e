/** Text that is already HTML. Only `html` and our own constants make it. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export type HtmlValue = Html | string | number | false | undefined | readonly HtmlValue[]

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character]!)
}

/** A template whose values are escaped for text and for quoted attributes; `Html` goes in as it is. */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  let text = parts[0]!
  for (const [index, value] of values.entries()) text += toText(value) + parts[index + 1]!
  return new Html(text)
}

/**
 * A URL of another site for `href`, that an administrator has chosen.
 *
 * @throws TypeError unless it is an absolute http or https URL
 */
export function outwardUrl(url: string): string {
  if (!/^https?:\/\/[^/\\]/i.test(url)) throw new TypeError(`not a link: ${url}`)
  return url
}

/**
 * A URL for `href`.
 *
 * @throws TypeError unless it is an absolute https URL or a path on this host; escaping does not
 *   stop `javascript:`, nor `//host`
 */
export function linkUrl(url: string): string {
  const onHost = /^\/(?![/\\])/.test(url)
  if (!onHost && !/^https:\/\/[^/\\]/.test(url)) throw new TypeError(`not a link: ${url}`)
  return url
}

function toText(value: HtmlValue): string {
  if (value === undefined || value === false) return ''
  if (value instanceof Html) return value.text
  if (typeof value === 'string') return escapeHtml(value)
  if (typeof value === 'number') return String(value)
  return value.map(toText).join('')
}
