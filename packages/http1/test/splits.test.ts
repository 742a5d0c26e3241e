import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cut, readRequests, readResponse } from './support/drive.ts'
import { Random } from './support/random.ts'

const requests = {
  'three pipelined requests with an empty line between':
    'GET /a HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloHEAD /c HTTP/1.0\r\n\r\n',
  'a chunked body with extensions and trailers':
    'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a="b"\r\nabc\r\n0a\r\n0123456789\r\n0;x\r\nT: 1\r\nU: 2\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
  'a bare LF in the head': 'GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n',
  'a chunk that is too long':
    'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n',
  'two empty lines': '\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
}

const responses = {
  'informational, then a counted body':
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'a chunked body with trailers':
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: 1\r\n\r\n',
  'a body until the end': 'HTTP/1.0 200 OK\r\n\r\nhello\r\n\r\nworld',
  'more than was asked for': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello',
  'a bare CR': 'HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n',
}

/** Every cut into two, byte by byte, and a hundred at random. */
function* cuts(text: string): Generator<string[]> {
  for (let at = 1; at < text.length; at++) yield [text.slice(0, at), text.slice(at)]
  yield cut(text, 'bytes')
  const random = new Random(text.length)
  for (let count = 0; count < 100; count++) yield cut(text, random)
}

for (const [what, text] of Object.entries(requests)) {
  test(`requests read alike wherever they are cut: ${what}`, () => {
    const { consumed: _, ...whole } = readRequests([text])
    for (const pieces of cuts(text)) {
      const { consumed: __, ...read } = readRequests(pieces)
      assert.deepEqual(read, whole, JSON.stringify(pieces))
    }
  })
}

for (const [what, text] of Object.entries(responses)) {
  test(`responses read alike wherever they are cut: ${what}`, () => {
    const { consumed: _, ...whole } = readResponse('GET', [text], true)
    for (const pieces of cuts(text)) {
      const { consumed: __, ...read } = readResponse('GET', pieces, true)
      assert.deepEqual(read, whole, JSON.stringify(pieces))
    }
  })
}
