import type { Random } from './random.ts'

/** The answer to a request by this method, as it stands on the wire. */
export interface GeneratedResponse {
  method: 'GET' | 'HEAD'
  text: string
}

/** One to three requests as they stand on the wire; most are spoiled in some place. */
export function generateRequests(random: Random): string {
  let text = ''
  for (let left = 1 + random.below(3); left > 0; left--) text += request(random)
  return random.chance(65) ? spoil(random, text) : text
}

export function generateResponse(random: Random): GeneratedResponse {
  const method = random.chance(15) ? 'HEAD' : 'GET'
  let text = ''
  if (random.chance(15))
    text += `HTTP/1.1 ${random.pick(['100 Continue', '103 Early Hints'])}\r\n\r\n`
  const status = random.pick([...statuses, '200 OK', '200 OK', '200 OK', '404 Not Found'])
  const version = random.chance(85) ? '1.1' : '1.0'
  text += `HTTP/${version} ${status}\r\n${message(random, 'response')}`
  return { method, text: random.chance(65) ? spoil(random, text) : text }
}

const statuses = [
  '204 No Content',
  '304 Not Modified',
  '500 ',
  '500',
  '205 Reset Content',
  '599 x\xe9',
]
const methods = ['GET', 'POST', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH', 'PROPFIND']
const rareMethods = ['RDG_OUT_DATA', 'get', 'M-SEARCH', 'X', 'PRI', 'GE"T', 'G(T']
const targets = [
  '/',
  '/a?b=c',
  '/%2e%2f;x',
  '/a/../b',
  '*',
  'http://a/b',
  '/\\',
  '/"<>',
  '/a#b',
  '//a',
]
const hosts = ['a', 'a.example:8080', '[::1]:80', 'A']
const names = [
  'A',
  'x-b',
  'Accept',
  'X_c',
  '!#$%',
  'Content-Type',
  'TE',
  'Cookie',
  'X-Content-Length',
]
const values = [
  '',
  'b',
  'b c',
  'b\tc',
  '"q\\"',
  '\xe9\xff',
  'a,b',
  ' ',
  '\t',
  'chunked',
  '5',
  'x'.repeat(40),
]
const extensions = ['', '', '', ';a', ';a=b', ';a="b;c"', ';a;b=c', ' ', ';', '; a', ';a="b', ' ;a']
const lengths = [
  '+1',
  '-1',
  '1,1',
  '1 1',
  '0x1',
  '01',
  '1.0',
  '',
  'a',
  '9007199254740992',
  '99999999999999999999',
]
const codings = [
  'Chunked',
  'CHUNKED',
  'gzip',
  'gzip, chunked',
  'chunked, chunked',
  'chunked,',
  'identity',
  'x',
  '',
]

function request(random: Random): string {
  const method = random.pick(random.chance(96) ? methods : rareMethods)
  const version = random.chance(92) ? '1.1' : '1.0'
  const host = random.chance(98) ? `Host:${space(random)}${random.pick(hosts)}\r\n` : ''
  return `${method} ${random.pick(targets)} HTTP/${version}\r\n${host}${message(random, 'request')}`
}

/** Fields, the empty line, and the body. */
function message(random: Random, kind: 'request' | 'response'): string {
  const fields = random.times(4, () => field(random))
  const framing = random.below(100)
  let body = ''
  if (framing < 30) {
    body = random.pick(['', 'x', 'hello', '0\r\n\r\n', 'GET / HTTP/1.1\r\nHost: b\r\n\r\n'])
    fields.push(`Content-Length:${space(random)}${body.length}`)
  } else if (framing < 60) {
    body = chunkedBody(random)
    fields.push(`Transfer-Encoding:${space(random)}chunked`)
  } else if (framing < 64) {
    body = chunkedBody(random)
    fields.push(`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked')
  } else if (framing < 68) {
    body = 'x'
    fields.push(`Content-Length: ${random.pick(lengths)}`)
  } else if (framing < 73) {
    body = chunkedBody(random)
    fields.push(`Transfer-Encoding: ${random.pick(codings)}`)
  } else if (framing < 76) {
    body = 'x'
    fields.push('Content-Length: 1', `content-length: ${random.pick(['1', '1', '2'])}`)
  } else if (kind === 'response') {
    body = random.pick(['', 'to the end'])
  }
  if (random.chance(4)) fields.push(`Connection: ${random.pick(['keep-alive', 'x', 'upgrade'])}`)
  if (random.chance(2)) fields.push('Connection: close')
  if (random.chance(2) && kind === 'request') fields.push('Expect: 100-continue')
  for (let index = fields.length - 1; index > 0; index--) {
    const other = random.below(index + 1)
    ;[fields[index], fields[other]] = [fields[other]!, fields[index]!]
  }
  return `${fields.map((line) => `${line}\r\n`).join('')}\r\n${body}`
}

function field(random: Random): string {
  return `${random.pick(names)}:${space(random)}${random.pick(values)}${random.pick(['', '', ' ', '\t '])}`
}

function space(random: Random): string {
  return random.pick([' ', ' ', ' ', '', '\t', '  '])
}

function chunkedBody(random: Random): string {
  let body = ''
  for (let left = random.below(4); left > 0; left--) {
    const data = random.pick(['x', 'hello', '0\r\n\r\n', 'y'.repeat(30)])
    const size = data.length.toString(16)
    const digits = random.pick([size, size, size.toUpperCase(), `00${size}`])
    body += `${digits}${random.pick(extensions)}\r\n${data}\r\n`
  }
  const trailers = random.chance(20) ? random.times(2, () => `${field(random)}\r\n`).join('') : ''
  return `${body}0${random.chance(90) ? '' : random.pick(extensions)}\r\n${trailers}\r\n`
}

const nasty = [
  '\r',
  '\n',
  '\r\n',
  '\r\r\n',
  '\n\n',
  '\r\n\r\n',
  '\n\r',
  '\0',
  '\t',
  ' ',
  '  ',
  '\x0b',
  '\x0c',
  '\x1f',
  '\x7f',
  '\x80',
  '\xa0',
  '\xff',
  ':',
  ' :',
  ': ',
  ';',
  ',',
  '"',
  '+',
  '-',
  '_',
  '0',
  '1',
  'f',
  '0x',
  'x',
  ' HTTP/1.1',
  'HTTP/1.0',
  'chunked',
  ', chunked',
  '0\r\n\r\n',
  '\r\n ',
  '\r\n\t',
  '\r\n: x',
  '\r\nHost: b',
  '\r\nContent-Length: 0',
  '\r\nContent-Length: 3',
  '\r\nContent-Length : 3',
  '\r\nContent_Length: 3',
  '\r\nTransfer-Encoding: chunked',
  '\r\nTransfer-Encoding : chunked',
  '\r\nTransfer-Encoding:\x0bchunked',
  '\r\nTransfer-Encoding: identity',
  '\r\nTransfer-Encoding: x, chunked',
  '\nTransfer-Encoding: chunked',
  '\rTransfer-Encoding: chunked',
  '\0\r\nTransfer-Encoding: chunked',
  'GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n',
]

/** One to three changes at any place; places where lines begin and end are preferred. */
function spoil(random: Random, text: string): string {
  let result = text
  for (let left = 1 + random.below(3); left > 0; left--) {
    const at = place(random, result)
    const length = random.below(random.chance(90) ? 4 : 40)
    const before = result.slice(0, at)
    switch (random.below(6)) {
      case 0:
      case 1:
        result = before + random.pick(nasty) + result.slice(at)
        break
      case 2:
        result = before + random.pick(nasty) + result.slice(at + length)
        break
      case 3:
        result = before + result.slice(at + length)
        break
      case 4:
        result = before + result.slice(at, at + length) + result.slice(at)
        break
      case 5:
        result = before + String.fromCharCode(random.below(256)) + result.slice(at + 1)
    }
  }
  return result
}

function place(random: Random, text: string): number {
  const at = random.below(text.length + 1)
  if (random.chance(50)) return at
  const lineEnd = text.indexOf('\r\n', at)
  return lineEnd === -1 ? at : lineEnd + random.below(3)
}
