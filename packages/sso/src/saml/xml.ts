import { DOMParser, type Element } from '@xmldom/xmldom'
import { invalid } from './errors.ts'

/** XML text that is complete as it is. Only `xml` and what signs or encrypts make it. */
export class Xml {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export type XmlValue = Xml | string | number | undefined | false | readonly XmlValue[]

/** A template whose values are escaped for text and for quoted attributes; `Xml` goes in as it is. */
export function xml(parts: TemplateStringsArray, ...values: readonly XmlValue[]): Xml {
  let text = parts[0]!
  for (const [index, value] of values.entries()) text += toText(value) + parts[index + 1]!
  return new Xml(text)
}

function toText(value: XmlValue): string {
  if (value === undefined || value === false) return ''
  if (value instanceof Xml) return value.text
  if (typeof value === 'string') return escapeXml(value)
  if (typeof value === 'number') return String(value)
  return value.map(toText).join('')
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  // A parser would turn them into a blank in an attribute, and a carriage return anywhere into a line feed.
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
}

/** No document can hold these, escaped or not (XML 1.0 section 2.2). */
const outside = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u
const outsideAll = new RegExp(outside.source, 'gu')

/** Whether a document can hold the text as it is. */
export function isXmlText(text: string): boolean {
  return !outside.test(text)
}

/** What no document can hold becomes U+FFFD. */
export function escapeXml(text: string): string {
  return text
    .replace(outsideAll, '\ufffd')
    .replace(/[&<>"'\t\n\r]/g, (character) => entities[character]!)
}

/** An instant as SAML writes it: UTC, to the millisecond. @param at epoch milliseconds */
export function toInstant(at: number): string {
  return new Date(at).toISOString()
}

/** An instant of a message, epoch milliseconds. @throws SamlError `SAML_MESSAGE_INVALID` */
export function parseInstant(text: string, name: string): number {
  // SAML core section 1.3.3: always UTC.
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,12})?Z$/.test(text) ? Date.parse(text) : NaN
  if (Number.isNaN(at)) throw invalid(`${name} is no instant in UTC`)
  return at
}

/**
 * Of tags, and of attributes, in one message; the longest that service providers send have some fifty. Namespaces, depth and
 * canonicalisation cost more than in proportion, and anybody may send a message.
 */
const limitPieces = 500

/**
 * Parses one document without what no message needs: document types with their entities, processing instructions,
 * and, unless `comments` allows them, comments and CDATA, at which parsers disagree on what a text is, and more than 500
 * tags or attributes.
 *
 * @throws SamlError `SAML_MESSAGE_INVALID`
 */
export function parseXml(text: string, options: { comments?: boolean } = {}): Element {
  const body = text.replace(/^\ufeff?\s*(?:<\?xml\s[^?<>]*\?>)?/, '')
  if (/<\?/.test(body)) throw invalid('processing instructions are not allowed')
  const declared = options.comments ? body.replace(/<!--|<!\[CDATA\[/g, '') : body
  if (
    !options.comments &&
    (countOf(/</g, body) > limitPieces || countOf(/=\s*["']/g, body) > limitPieces)
  )
    throw invalid(`it has more than ${limitPieces} tags or attributes`)
  if (/<!/.test(declared))
    throw invalid(
      options.comments
        ? 'a document type is not allowed'
        : 'document types, comments and CDATA are not allowed',
    )
  const fail = (problem: unknown) => {
    throw invalid('is no well-formed XML', { cause: problem })
  }
  let root: Element | null
  try {
    root = new DOMParser({
      errorHandler: { warning: fail, error: fail, fatalError: fail },
    }).parseFromString(body, 'text/xml').documentElement
  } catch (cause) {
    throw invalid('is no well-formed XML', { cause })
  }
  if (!root) throw invalid('is no well-formed XML')
  checkIds(root)
  return root
}

function countOf(pattern: RegExp, text: string): number {
  return text.match(pattern)?.length ?? 0
}

/** Two elements of one ID: what a signature covers would be a matter of opinion. */
function checkIds(root: Element): void {
  const seen = new Set<string>()
  for (const element of descendants(root))
    for (const { name, value } of Array.from(element.attributes)) {
      if (!/^(?:.*:)?id$/i.test(name)) continue
      if (seen.has(value)) throw invalid('two elements have one ID')
      seen.add(value)
    }
}

function* descendants(element: Element): Generator<Element> {
  const waiting = [element]
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    yield next
    waiting.push(...children(next))
  }
}

export function children(element: Element): Element[] {
  return Array.from(element.childNodes).filter((node): node is Element => node.nodeType === 1)
}

export function isNamed(element: Element, namespace: string, name: string): boolean {
  return element.namespaceURI === namespace && element.localName === name
}

export function childrenNamed(element: Element, namespace: string, name: string): Element[] {
  return children(element).filter((child) => isNamed(child, namespace, name))
}

/** The only child of its name, if there is one. @throws SamlError `SAML_MESSAGE_INVALID` when there are two */
export function childNamed(element: Element, namespace: string, name: string): Element | undefined {
  const [child, second] = childrenNamed(element, namespace, name)
  if (second) throw invalid(`${element.localName} has two ${name}`)
  return child
}

/** The text of an element that holds nothing else. @throws SamlError `SAML_MESSAGE_INVALID` */
export function textOf(element: Element): string {
  if (children(element).length > 0) throw invalid(`${element.localName} must hold a text`)
  return (element.textContent ?? '').trim()
}

export function attributeOf(element: Element, name: string): string | undefined {
  return element.hasAttribute(name) ? element.getAttribute(name)! : undefined
}

/** @throws SamlError `SAML_MESSAGE_INVALID` */
export function booleanOf(element: Element, name: string): boolean {
  const value = attributeOf(element, name)
  if (value === undefined || value === 'false' || value === '0') return false
  if (value !== 'true' && value !== '1') throw invalid(`${name} must be true or false`)
  return true
}
