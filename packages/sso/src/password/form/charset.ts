import { FormError } from './errors.ts'

/** The charset of a page: of its `Content-Type`, of a byte order mark, of a `meta` in its beginning; else UTF-8. */
export function charsetOf(bytes: Buffer, contentType: string): string {
  if (bytes.subarray(0, 3).equals(Buffer.of(0xef, 0xbb, 0xbf))) return 'utf-8'
  const start = bytes.toString('latin1', 0, 1_024)
  const named =
    /;\s*charset\s*=\s*"?([^\s";]+)/i.exec(contentType) ??
    /<meta\b[^>]*\bcharset\s*=\s*["']?\s*([^\s"'/>;]+)/i.exec(start)
  return findCharset(named?.[1] ?? 'utf-8') ?? 'utf-8'
}

/** The name of the WHATWG Encoding Standard for a label; undefined when it has none. */
export function findCharset(label: string): string | undefined {
  try {
    return new TextDecoder(label).encoding
  } catch {
    return undefined
  }
}

export function decodePage(bytes: Buffer, charset: string): string {
  return new TextDecoder(charset).decode(bytes)
}

/**
 * Bytes of a text as a form of that charset sends it.
 *
 * @throws FormError `FORM_CHARSET_UNSUPPORTED` for what is not ASCII in a charset of more than one byte a character that is not UTF-8
 */
export function encodeText(text: string, charset: string): Buffer {
  if (charset === 'utf-8' || /^[\x00-\x7f]*$/.test(text)) return Buffer.from(text, 'utf8')
  const table = singleBytes(charset)
  if (!table)
    throw new FormError(
      'FORM_CHARSET_UNSUPPORTED',
      `the sign-in form wants ${charset}, in which only ASCII can be sent to it`,
    )
  const parts = [...text].map((character) => {
    const byte = table.get(character)
    // What a browser sends for a character that the charset does not have.
    return byte === undefined ? Buffer.from(`&#${character.codePointAt(0)};`) : Buffer.of(byte)
  })
  return Buffer.concat(parts)
}

const tables = new Map<string, ReadonlyMap<string, number> | undefined>()

function singleBytes(charset: string): ReadonlyMap<string, number> | undefined {
  if (tables.has(charset)) return tables.get(charset)
  const decoder = new TextDecoder(charset)
  const characters = Array.from({ length: 256 }, (_, byte) => decoder.decode(Buffer.of(byte)))
  // In a charset of several bytes, single ones above ASCII stand for nothing.
  const missing = characters.filter((character) => character === '\ufffd').length
  const table =
    missing > 64 ? undefined : new Map(characters.map((character, byte) => [character, byte]))
  tables.set(charset, table)
  return table
}
