/** What DER (X.690) allows to be read in one way only; everything else is refused with this. */
export class DerError extends Error {
  override readonly name = 'DerError'
  readonly code = 'DER_INVALID'
}

/** Universal tags of Kerberos V5; constructed where they must be. */
export const Tag = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  OID: 0x06,
  ENUMERATED: 0x0a,
  GENERAL_STRING: 0x1b,
  GENERALIZED_TIME: 0x18,
  SEQUENCE: 0x30,
} as const

export const application = (number: number): number => 0x60 | number
export const context = (number: number): number => 0xa0 | number

export interface Element {
  tag: number
  content: Buffer
  /** Header and content: shares memory with what was read, as `content` does. */
  encoded: Buffer
}

/** A list longer than this is no Kerberos message: it bounds the work for hostile input. */
const maxElements = 1000

/** @returns the one element that fills `bytes` @throws DerError */
export function parseElement(bytes: Buffer): Element {
  const element = readElement(bytes, 0)
  if (element.encoded.length !== bytes.length) {
    throw new DerError(`${bytes.length - element.encoded.length} bytes after the element`)
  }
  return element
}

/** @returns the elements that fill `content`, one after another @throws DerError */
export function parseElements(content: Buffer): Element[] {
  const elements: Element[] = []
  for (let offset = 0; offset < content.length; ) {
    if (elements.length === maxElements) throw new DerError(`more than ${maxElements} elements`)
    const element = readElement(content, offset)
    elements.push(element)
    offset += element.encoded.length
  }
  return elements
}

/** The first element of `bytes`; what follows it is not looked at. @throws DerError */
export function readElement(bytes: Buffer, offset: number): Element {
  const tag = bytes[offset]
  const first = bytes[offset + 1]
  if (tag === undefined || first === undefined) throw new DerError('truncated header')
  if ((tag & 0x1f) === 0x1f) throw new DerError('tag number above 30')
  let start = offset + 2
  let length = first
  if (first >= 0x80) {
    const octets = first & 0x7f
    // 0x80 is the indefinite form of BER. Four octets are more than any message has.
    if (octets === 0 || octets > 4) throw new DerError('length form')
    if (start + octets > bytes.length) throw new DerError('truncated length')
    length = bytes.readUIntBE(start, octets)
    start += octets
    const shortest = length < 0x80 ? 0 : Math.ceil((32 - Math.clz32(length)) / 8)
    if (shortest !== octets) throw new DerError('length is not in its shortest form')
  }
  if (length > bytes.length - start) throw new DerError('truncated content')
  const end = start + length
  return { tag, content: bytes.subarray(start, end), encoded: bytes.subarray(offset, end) }
}

/** @returns the content of `element` @throws DerError when it has another tag */
export function contentOf(element: Element, tag: number, what: string): Buffer {
  if (element.tag !== tag) throw new DerError(`${what}: tag ${element.tag}, not ${tag}`)
  return element.content
}

/** -2^31 to 2^32-1, as Kerberos has them. @throws DerError */
export function toInteger(element: Element, tag: number = Tag.INTEGER): number {
  const bytes = contentOf(element, tag, 'integer')
  if (bytes.length === 0 || bytes.length > 5) throw new DerError(`integer of ${bytes.length} bytes`)
  const [first, second] = bytes
  if (second !== undefined) {
    const redundant = second < 0x80 ? first === 0 : first === 0xff
    if (redundant) throw new DerError('integer is not in its shortest form')
  }
  const value = bytes.readIntBE(0, bytes.length)
  if (value > 0xffffffff || value < -0x80000000) throw new DerError('integer out of range')
  return value
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** KerberosString, in UTF-8 as Active Directory sends it. @throws DerError */
export function toText(element: Element): string {
  const bytes = contentOf(element, Tag.GENERAL_STRING, 'string')
  try {
    return utf8.decode(bytes)
  } catch {
    throw new DerError('string is not UTF-8')
  }
}

/** KerberosTime: `20260102030405Z` and nothing else (RFC 4120 section 5.2.3). @returns epoch ms */
export function toInstant(element: Element): number {
  const text = contentOf(element, Tag.GENERALIZED_TIME, 'time').toString('latin1')
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text)
  if (!match) throw new DerError('time is not YYYYMMDDHHMMSSZ')
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number)
  const at = Date.UTC(year!, month! - 1, day!, hour!, minute!, second!)
  if (toTimeText(at) !== text) throw new DerError('time that no calendar has')
  return at
}

export function toTimeText(at: number): string {
  return `${new Date(at).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
}

/** The first 32 bits of KerberosFlags, bit 0 highest. @throws DerError */
export function toFlags(element: Element): number {
  const bytes = contentOf(element, Tag.BIT_STRING, 'flags')
  // RFC 4120 section 5.2.8: at least 32 bits; whatever is beyond has no meaning for us.
  if (bytes.length < 5 || bytes[0]! > 7) throw new DerError('flags shorter than 32 bits')
  return bytes.readUInt32BE(1)
}

export function toOctets(element: Element): Buffer {
  return contentOf(element, Tag.OCTET_STRING, 'octets')
}

/** A SEQUENCE whose fields carry explicit context tags, each number once, in ascending order. */
export class Fields {
  readonly #fields = new Map<number, Element>()
  readonly #what: string

  constructor(element: Element, what: string) {
    this.#what = what
    let last = -1
    for (const { tag, content } of parseElements(contentOf(element, Tag.SEQUENCE, what))) {
      const number = tag & 0x1f
      if (tag !== context(number)) throw new DerError(`${what}: field with tag ${tag}`)
      if (number <= last) throw new DerError(`${what}: field ${number} after field ${last}`)
      last = number
      this.#fields.set(number, parseElement(content))
    }
  }

  find(number: number): Element | undefined {
    return this.#fields.get(number)
  }

  get(number: number): Element {
    const field = this.#fields.get(number)
    if (!field) throw new DerError(`${this.#what}: no field ${number}`)
    return field
  }

  /** @throws DerError unless the field is there and has this value */
  expect(number: number, value: number): void {
    const found = toInteger(this.get(number))
    if (found !== value) throw new DerError(`${this.#what}: field ${number} is ${found}`)
  }
}

/** What is inside of an application tag. @throws DerError when it is another one */
export function unwrapApplication(element: Element, number: number, what: string): Element {
  return parseElement(contentOf(element, application(number), what))
}
