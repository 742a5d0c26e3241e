import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { WebSocket } from 'ws'
import { patternBytes } from '../src/download.ts'
import { startIntranet } from '../src/index.ts'

async function start(t: TestContext): Promise<string> {
  const intranet = await startIntranet()
  t.after(() => intranet.close())
  return intranet.url
}

test('the home page shows method, target and every header in order, escaped', async (t) => {
  const url = await start(t)
  const page = await raw(url, [
    'GET /?a=<b> HTTP/1.1',
    'Host: hr.test',
    'X-Twice: first',
    'x-other: <script>',
    'X-Twice: second',
    'Connection: close',
  ])
  const fields = page.slice(page.indexOf('<tbody>'), page.indexOf('</tbody>'))
  const names = [...fields.matchAll(/<th scope="row">([^<]*)/g)].map((match) => match[1])
  assert.deepEqual(names, ['Host', 'X-Twice', 'x-other', 'X-Twice', 'Connection'])
  assert.match(fields, /&#60;script&#62;/)
  assert.ok(!page.includes('<b>'))
  assert.match(page, /whoever you are/)
})

test('the home page greets whom the identity headers name, in UTF-8', async (t) => {
  const url = await start(t)
  const headers = {
    'x-user': 'ana',
    'x-user-display-name': Buffer.from('Ána Novák').toString('latin1'),
    'x-user-groups': 'staff',
  }
  const page = await (await fetch(url, { headers })).text()
  assert.match(page, /Good day, Ána Novák/)
  assert.match(page, /<strong id="user">ana</)
  assert.match(page, /<dd>staff</)
})

test('no page refers to an address from the root or from another host', async (t) => {
  const url = await start(t)
  for (const path of ['/', '/form', '/cookies', '/intranet.css', '/intranet.js']) {
    const content = await (await fetch(url + path)).text()
    assert.doesNotMatch(content, /(?:href|src|action)="(?:\/|https?:)|url\(|fetch\('\//, path)
  }
})

test('what the pages refer to is there', async (t) => {
  const url = await start(t)
  for (const path of ['/', '/form', '/cookies']) {
    const content = await (await fetch(url + path)).text()
    for (const [, link] of content.matchAll(/(?:href|src)="([^"]*)"/g)) {
      const answer = await fetch(new URL(link!, url + path), { redirect: 'manual' })
      assert.ok(answer.status < 400, `${link} in ${path}`)
      await answer.body?.cancel()
    }
  }
  assert.equal((await fetch(`${url}/elsewhere`)).status, 404)
})

test('a person who asks for what is not there gets a page with a way back', async (t) => {
  const url = await start(t)
  for (const [path, statusCode, message] of [
    ['/elsewhere', 404, 'No such page here.'],
    ['/a/b/elsewhere/', 404, 'No such page here.'],
    ['/download?bytes=x', 400, 'bytes: a number'],
    ['/upload', 405, 'Send a body'],
  ] as const) {
    const answer = await fetch(url + path, { headers: { accept: 'text/html,*/*;q=0.8' } })
    assert.equal(answer.status, statusCode)
    const page = await answer.text()
    assert.ok(page.includes(message), path)
    const [, back] = /<a href="([^"]*)">Back/.exec(page)!
    assert.equal(new URL(back!, url + path).href, `${url}/`)
    const [, style] = /rel="stylesheet" href="([^"]*)"/.exec(page)!
    assert.equal(new URL(style!, url + path).href, `${url}/intranet.css`)
  }
  const program = await fetch(`${url}/elsewhere`)
  assert.match(program.headers.get('content-type')!, /text\/plain/)
})

test('echo tells raw headers, trailers and body as they came', async (t) => {
  const url = await start(t)
  const answer = await raw(url, [
    'POST /echo?x=%2F HTTP/1.1',
    'Host: h',
    'transfer-encoding: chunked',
    'Trailer: X-Sum',
    'Connection: close',
    '',
    '5',
    'hello',
    '0',
    'X-Sum: 1',
  ])
  const echoed = JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1))
  assert.equal(echoed.url, '/echo?x=%2F')
  assert.deepEqual(echoed.rawHeaders.slice(0, 4), ['Host', 'h', 'transfer-encoding', 'chunked'])
  assert.deepEqual(echoed.rawTrailers, ['X-Sum', '1'])
  assert.equal(echoed.bodyBytes, 5)
})

test('an upload is counted and hashed while it streams, by POST and by PUT', async (t) => {
  const url = await start(t)
  const body = Buffer.concat([...patternBytes(0, 3_000_000)])
  const sha256 = createHash('sha256').update(body).digest('hex')
  for (const method of ['POST', 'PUT']) {
    const answer = await fetch(`${url}/upload`, { method, body })
    assert.deepEqual(await answer.json(), { bytes: 3_000_000, sha256 })
  }
  assert.equal((await fetch(`${url}/upload`)).status, 405)
})

test('a download depends on offsets only, so that ranges and wholes agree', async (t) => {
  const url = await start(t)
  const get = async (range: string) => {
    const answer = await fetch(`${url}/download?bytes=200000`, { headers: { range } })
    return { answer, body: Buffer.from(await answer.arrayBuffer()) }
  }
  const whole = Buffer.from(await (await fetch(`${url}/download?bytes=200000`)).arrayBuffer())
  assert.equal(whole.length, 200_000)
  for (const [range, first, end] of [
    ['bytes=0-0', 0, 1],
    ['bytes=65520-131500', 65_520, 131_501],
    ['bytes=199990-', 199_990, 200_000],
    ['bytes=-10', 199_990, 200_000],
    ['bytes=199999-999999', 199_999, 200_000],
  ] as const) {
    const { answer, body } = await get(range)
    assert.equal(answer.status, 206, range)
    assert.equal(answer.headers.get('content-range'), `bytes ${first}-${end - 1}/200000`)
    assert.ok(body.equals(whole.subarray(first, end)), range)
  }
  const beyond = await get('bytes=200000-')
  assert.equal(beyond.answer.status, 416)
  assert.equal(beyond.answer.headers.get('content-range'), 'bytes */200000')
  for (const ignored of ['bytes=5-2', 'lines=1-2', 'bytes=0-1,3-4']) {
    assert.equal((await get(ignored)).answer.status, 200, ignored)
  }
})

test('a range of something that has changed since is answered whole', async (t) => {
  const url = await start(t)
  const headers = { range: 'bytes=0-9', 'if-range': '"41"' }
  assert.equal((await fetch(`${url}/download?bytes=42`, { headers })).status, 200)
  headers['if-range'] = '"42"'
  assert.equal((await fetch(`${url}/download?bytes=42`, { headers })).status, 206)
})

test('a download can leave its length out, and HEAD its content', async (t) => {
  const url = await start(t)
  const chunked = await fetch(`${url}/download?bytes=70000&chunked=1`)
  assert.equal(chunked.headers.get('content-length'), null)
  assert.equal((await chunked.arrayBuffer()).byteLength, 70_000)
  const head = await fetch(`${url}/download?bytes=70000`, { method: 'HEAD' })
  assert.equal(head.headers.get('content-length'), '70000')
  assert.equal((await fetch(`${url}/download?bytes=-1`)).status, 400)
})

test('redirects name the host that was asked for, and never another', async (t) => {
  const url = await start(t)
  const go = (query: string) => fetch(`${url}/redirect${query}`, { redirect: 'manual' })
  assert.equal((await go('')).headers.get('location'), `${url}/`)
  const other = await go('?to=/form&status=307')
  assert.equal(other.status, 307)
  assert.equal(other.headers.get('location'), `${url}/form`)
  assert.equal((await go('?to=form&relative=1')).headers.get('location'), 'form')
  for (const bad of ['//evil.test', 'https://evil.test/', '/%5Cevil.test', '/a%0D%0Ab']) {
    assert.equal((await go(`?to=${bad}`)).status, 400, bad)
  }
  assert.equal((await go('?status=304')).status, 400)
})

test('a cookie that is set comes back and is shown', async (t) => {
  const url = await start(t)
  const body = new URLSearchParams({ name: 'tea', value: 'green; x' })
  const set = await fetch(`${url}/cookies`, { method: 'POST', body, redirect: 'manual' })
  assert.equal(set.status, 303)
  assert.equal(set.headers.get('location'), 'cookies')
  const lines = set.headers.getSetCookie()
  assert.deepEqual(lines, [
    'tea=green%3B%20x; Path=/; HttpOnly; SameSite=Lax',
    'changed=tea; Path=/',
  ])
  const shown = await fetch(`${url}/cookies`, { headers: { cookie: 'tea=green%3B%20x; b=1' } })
  assert.match(await shown.text(), /<dt>tea<\/dt><dd>green%3B%20x<\/dd>.*<dt>b<\/dt><dd>1</)
  const bad = new URLSearchParams({ name: 'a=b', value: '' })
  assert.equal((await fetch(`${url}/cookies`, { method: 'POST', body: bad })).status, 400)
})

test('a posted form is shown, escaped; one that is too long is refused', async (t) => {
  const url = await start(t)
  const post = (reason: string) =>
    fetch(`${url}/form`, { method: 'POST', body: new URLSearchParams({ reason }) })
  assert.match(await (await post('<b>sun</b>')).text(), /<dd>&#60;b&#62;sun&#60;\/b&#62;<\/dd>/)
  assert.equal((await post('x'.repeat(70_000))).status, 413)
})

test('events come one by one and go on from the last that was seen', async (t) => {
  const url = await start(t)
  const headers = { 'last-event-id': '41' }
  const answer = await fetch(`${url}/events?interval=10&count=3`, { headers })
  assert.equal(answer.headers.get('content-type'), 'text/event-stream')
  const ids = [...(await answer.text()).matchAll(/^id: (\d+)$/gm)].map((match) => match[1])
  assert.deepEqual(ids, ['42', '43', '44'])
})

test('the clock ticks at once, echoes, and sets fields on its 101', async (t) => {
  const url = await start(t)
  const socket = new WebSocket(`${url.replace('http', 'ws')}/clock`, ['time', 'other'], {
    headers: { cookie: 'a=1; b=2' },
  })
  t.after(() => socket.terminate())
  const [[upgrade], [first]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'message')])
  assert.deepEqual(upgrade.headers['set-cookie'], ['clock=ticking; Path=/; HttpOnly'])
  assert.equal(upgrade.headers['x-clock-cookies'], '2')
  assert.equal(socket.protocol, 'time')
  assert.ok(!Number.isNaN(Date.parse(JSON.parse(String(first)).now)))

  const sent = Buffer.from([0, 255, 1])
  const echoed = new Promise<Buffer>((resolve) => {
    socket.on('message', (data: Buffer, isBinary) => isBinary && resolve(data))
  })
  socket.send(sent)
  assert.ok(sent.equals(await echoed))
})

test('an upgrade anywhere else is refused', async (t) => {
  const url = await start(t)
  const socket = new WebSocket(`${url.replace('http', 'ws')}/echo`)
  const [error] = await once(socket, 'error')
  assert.match(error.message, /404/)
})

for (const path of ['/slow?ms=3600000', '/events?interval=3600000']) {
  test(`a client that leaves ${path} leaves no timer behind`, async (t) => {
    const url = await start(t)
    const before = timers()
    const req = request(url + path, { agent: false }).on('error', () => {})
    req.end()
    await until(() => timers() > before)
    req.destroy()
    await until(() => timers() === before)
  })
}

test('the program prints its address as one JSON line, writes it, and ends on SIGTERM', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'intranet-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const readyFile = join(folder, 'ready')
  const main = join(import.meta.dirname, '../src/main.ts')
  const child = spawn(process.execPath, [main, '--port', '0', '--ready-file', readyFile])
  t.after(() => child.kill('SIGKILL'))
  const [line] = await once(createInterface(child.stdout), 'line')
  const { url } = JSON.parse(line)
  assert.equal((await fetch(url)).status, 200)
  assert.equal(JSON.parse(readFileSync(readyFile, 'utf8')).url, url)
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [0, null])
})

function timers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

/** Sends lines as they are, which no client library would; resolves with all that comes back. */
async function raw(url: string, lines: string[]): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  return text(socket)
}
