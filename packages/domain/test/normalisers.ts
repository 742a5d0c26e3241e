/**
 * What servers in the field do to a path before they match it, each written on its own and without a look at
 * `target.ts`. A reading is any sequence of them, because proxies and frameworks stand in rows.
 */
export interface Normaliser {
  name: string
  read(path: string): string
}

function bytesOf(path: string): Buffer {
  const bytes: number[] = []
  for (let at = 0; at < path.length; at += 1) {
    const code = path.charCodeAt(at)
    const hex = path.slice(at + 1, at + 3)
    if (code === 0x25 && /^[0-9a-f]{2}$/i.test(hex)) {
      bytes.push(Number.parseInt(hex, 16))
      at += 2
    } else if (code > 0xff) bytes.push(...Buffer.from(path[at]!, 'utf8'))
    else bytes.push(code)
  }
  return Buffer.from(bytes)
}

/** UTF-8 without the check that the form is the shortest. */
function lenientUtf8(bytes: Buffer): string {
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const byte = bytes[at]!
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    const rest = bytes.subarray(at + 1, at + length)
    const whole = rest.length === length - 1 && rest.every((next) => (next & 0xc0) === 0x80)
    if (length === 1 || !whole) {
      text += String.fromCharCode(byte)
      at += 1
      continue
    }
    let code = byte & (0xff >> (length + 1))
    for (const next of rest) code = (code << 6) | (next & 0x3f)
    text += code <= 0xffff ? String.fromCharCode(code) : '?'
    at += length
  }
  return text
}

const lookAlikes: Record<string, string> = {
  '\u2044': '/',
  '\u2215': '/',
  '\u2216': '\\',
  '\u2024': '.',
}

/** Windows' best fit, as far as it makes ASCII that means something in a path. */
function bestFit(text: string): string {
  let fitted = ''
  for (const character of text) {
    const code = character.codePointAt(0)!
    if (code >= 0xff01 && code <= 0xff5e) fitted += String.fromCharCode(code - 0xfee0)
    else fitted += lookAlikes[character] ?? character
  }
  return fitted
}

function removeDotSegments(path: string): string {
  // RFC 3986 section 5.2.4, step by step.
  let input = path
  let output = ''
  while (input !== '') {
    if (input.startsWith('../')) input = input.slice(3)
    else if (input.startsWith('./')) input = input.slice(2)
    else if (input.startsWith('/./')) input = input.slice(2)
    else if (input === '/.') input = '/'
    else if (input.startsWith('/../') || input === '/..') {
      input = input === '/..' ? '/' : input.slice(3)
      output = output.slice(0, Math.max(0, output.lastIndexOf('/')))
    } else if (input === '.' || input === '..') input = ''
    else {
      const end = input.indexOf('/', 1)
      output += end < 0 ? input : input.slice(0, end)
      input = end < 0 ? '' : input.slice(end)
    }
  }
  return output
}

export const normalisers: Normaliser[] = [
  { name: 'percent-decoding to bytes (nginx)', read: (path) => bytesOf(path).toString('latin1') },
  { name: 'overlong UTF-8 (old Java)', read: (path) => lenientUtf8(bytesOf(path)) },
  { name: 'best fit (Windows)', read: (path) => bestFit(lenientUtf8(bytesOf(path))) },
  { name: 'backslashes (IIS, WHATWG)', read: (path) => path.split('\\').join('/') },
  {
    name: 'path parameters cut (Tomcat)',
    read: (path) =>
      path
        .split('/')
        .map((segment) => segment.split(';')[0])
        .join('/'),
  },
  { name: 'all after the first semicolon cut', read: (path) => path.split(';')[0]! },
  {
    name: 'empty segments folded (nginx merge_slashes)',
    read: (path) => path.replace(/\/+/g, '/'),
  },
  { name: 'dot segments removed (RFC 3986)', read: removeDotSegments },
  {
    name: 'dot segments and empty ones removed (path.posix)',
    read: (path) => {
      const out: string[] = []
      for (const part of path.split('/')) {
        if (part === '..') out.pop()
        else if (part !== '' && part !== '.') out.push(part)
      }
      return `/${out.join('/')}${/\/\.{0,2}$/.test(path) && out.length > 0 ? '/' : ''}`
    },
  },
  {
    name: 'dots and spaces at the end of a segment cut (NTFS)',
    read: (path) =>
      path
        .split('/')
        .map((part) => (/^\.{1,2}$/.test(part) ? part : part.replace(/[. ]+$/, '')))
        .join('/'),
  },
  { name: 'lower case (IIS)', read: (path) => path.toLowerCase() },
  {
    name: 'WHATWG URL',
    read: (path) => (URL.canParse(`http://x${path}`) ? new URL(`http://x${path}`).pathname : path),
  },
]
