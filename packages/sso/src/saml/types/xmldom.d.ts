/**
 * The part of `@xmldom/xmldom` that is used. Its own declarations bring in all of a browser's, which then stand for what Node has of
 * the same names in every file of the program; `paths` in tsconfig.json puts these in their place.
 */
export interface Attr {
  readonly name: string
  readonly value: string
}

export interface Node {
  readonly nodeType: number
  readonly textContent: string | null
}

export interface Element extends Node {
  readonly namespaceURI: string | null
  readonly localName: string
  readonly attributes: ArrayLike<Attr>
  readonly childNodes: ArrayLike<Node>
  hasAttribute(name: string): boolean
  getAttribute(name: string): string | null
  getElementsByTagNameNS(namespace: string, name: string): ArrayLike<Element>
}

export interface ErrorHandler {
  warning(problem: unknown): void
  error(problem: unknown): void
  fatalError(problem: unknown): void
}

export class DOMParser {
  constructor(options: { errorHandler: ErrorHandler })
  parseFromString(text: string, mimeType: string): { readonly documentElement: Element | null }
}
