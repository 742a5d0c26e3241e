import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  visit,
} from 'yaml'

/** Something that is wrong with the text itself. */
export interface YamlProblem {
  /** Counted from 1; undefined when it concerns the whole. */
  line: number | undefined
  message: string
}

export interface YamlDocument {
  value: unknown
  /** Where it begins: that of its `---` if it has one. */
  line: number
  /**
   * The line of a field, or of the last thing on the way to it that is there.
   *
   * @param path keys and indexes with dots between them; empty: the document
   */
  lineOf(path: string): number
}

/** One that is cut off in the middle makes as many as it has brackets. */
const maxProblems = 10

/** Errors of the parser that speak to programmers, in other words. */
const words: Partial<Record<string, string>> = {
  DUPLICATE_KEY: 'sets a key for the second time; keep one of the two',
  RESOURCE_EXHAUSTION: 'is nested too deeply',
  TAB_AS_INDENT: 'must be indented with spaces, not with tabs',
}

/**
 * Strict YAML: what one reader takes for this and another for that is refused, such as a key that stands twice. Empty
 * documents are left out.
 */
export function readYaml(text: string): { documents: YamlDocument[]; problems: YamlProblem[] } {
  const lines = new LineCounter()
  const lineAt = (offset: number) => lines.linePos(offset).line
  try {
    const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })
    const documents = Array.isArray(parsed) ? parsed : []
    const problems = documents.flatMap((document) => problemsOf(document, lineAt))
    if (problems.length > 0) return { documents: [], problems: problems.slice(0, maxProblems) }
    return {
      documents: documents
        .map((document) => ({
          value: document.toJS() as unknown,
          line: lineAt(document.range[0]),
          lineOf: (path: string) => lineAt(offsetOf(document, path)),
        }))
        .filter(({ value }) => value !== null && value !== undefined),
      problems,
    }
  } catch (error) {
    // The parser calls itself for each level.
    if (error instanceof RangeError)
      return { documents: [], problems: [{ line: undefined, message: 'is nested too deeply' }] }
    throw error
  }
}

function problemsOf(document: Document, lineAt: (offset: number) => number): YamlProblem[] {
  const problems: YamlProblem[] = [...document.errors, ...document.warnings].map(
    ({ code, message, pos }) => ({ line: lineAt(pos[0]), message: words[code] ?? message }),
  )
  if (problems.length === 0)
    visit(document, {
      Pair(_key, { key }) {
        if (!isNode(key) || isScalar(key)) return
        const message = 'must have a plain text as key, not a list or a mapping'
        problems.push({ line: lineAt(key.range?.[0] ?? 0), message })
      },
      Node(_key, node) {
        if (!isAlias(node) && node.anchor === undefined) return
        const message = 'must not use anchors (&) and aliases (*); write the value out'
        problems.push({ line: lineAt(node.range?.[0] ?? 0), message })
      },
    })
  return problems
}

/** Keys may hold dots themselves: the longest that fits is meant. */
function offsetOf(document: Document, path: string): number {
  let node: unknown = document.contents
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0
  let rest = path
  while (rest !== '') {
    const [, head = '', tail = ''] = /^([^.]*)\.?(.*)$/s.exec(rest) ?? []
    if (isSeq(node)) {
      node = node.items[Number(head)]
      rest = tail
    } else if (isMap(node)) {
      const pairs = node.items.filter(({ key }) => {
        const text = String(isScalar(key) ? key.value : key)
        return rest === text || rest.startsWith(`${text}.`)
      })
      const pair = pairs.toSorted((a, b) => String(b.key).length - String(a.key).length)[0]
      if (!pair) return offset
      rest = rest.slice(String(isScalar(pair.key) ? pair.key.value : pair.key).length + 1)
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset
      node = pair.value
      continue
    } else return offset
    if (!isNode(node)) return offset
    offset = node.range?.[0] ?? offset
  }
  return offset
}

/** @returns undefined when it is no UTF-8 */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}
