import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { ResetCode, type TunnelSession } from '@sallyport/protocol'
import { startHttpOrigin, startRawOrigin } from './origins.ts'
import {
  connected,
  exchange,
  failure,
  GatewayStream,
  openText,
  type RunOptions,
} from './service.ts'

const ana = 'connection-of-ana'
const ben = 'connection-of-ben'

/** An origin that signs people on once per connection, as NTLM does: three legs, and then whoever asks is that person. */
async function startConnectionOrigin(t: TestContext) {
  const people = new WeakMap<Socket, string>()
  const numbers = new WeakMap<Socket, number>()
  let count = 0
  return startHttpOrigin(t, (request, response) => {
    const { socket, headers } = request
    if (!numbers.has(socket)) numbers.set(socket, ++count)
    response.setHeader('X-Connection', String(numbers.get(socket)))
    const [, leg, name] =
      /^NTLM (negotiate|authenticate)(?: (\w+))?$/.exec(headers.authorization ?? '') ?? []
    request.resume().on('end', () => {
      if (leg === 'authenticate') people.set(socket, name!)
      const person = people.get(socket)
      if (person) {
        response.setHeader('Persistent-Auth', 'true')
        response.end(person)
        return
      }
      response.statusCode = 401
      response.setHeader(
        'WWW-Authenticate',
        leg === 'negotiate' ? 'NTLM challenge' : ['Negotiate', 'NTLM'],
      )
      response.end()
    })
  })
}

async function start(t: TestContext, options: RunOptions = {}) {
  const origin = await startConnectionOrigin(t)
  const running = await connected(t, { allow: [`127.0.0.1:${origin.port}`], ...options })
  return { ...running, origin, url: origin.url }
}

interface Ask {
  connection?: string
  app?: string
  authorization?: string
  method?: string
  body?: string
}

async function ask(
  session: TunnelSession,
  url: string,
  { authorization, method = 'GET', body, ...rest }: Ask,
) {
  const lines = [`${method} / HTTP/1.1`, 'Host: x']
  if (authorization) lines.push(`Authorization: ${authorization}`)
  if (body !== undefined) lines.push(`Content-Length: ${body.length}`)
  const answer = await exchange(session, { url, ...rest }, lines.join('\r\n'), body)
  return { status: answer.statusCode, body: answer.body, on: answer.fields['x-connection'] }
}

async function signOn(session: TunnelSession, url: string, connection: string, name: string) {
  const first = await ask(session, url, { connection })
  const second = await ask(session, url, { connection, authorization: 'NTLM negotiate' })
  const third = await ask(session, url, { connection, authorization: `NTLM authenticate ${name}` })
  assert.deepEqual([first.status, second.status, third.status], [401, 401, 200])
  assert.deepEqual([second.on, third.on], [first.on, first.on], 'all legs over one connection')
  return first.on
}

test('each connection of a client has its own to the origin, by which it stays who it is', async (t) => {
  const { session, url, connector } = await start(t)
  const ofAna = await signOn(session, url, ana, 'ana')
  const ofBen = await signOn(session, url, ben, 'ben')
  assert.notEqual(ofAna, ofBen)
  for (let round = 0; round < 3; round += 1) {
    assert.deepEqual(await ask(session, url, { connection: ana }), {
      status: 200,
      body: 'ana',
      on: ofAna,
    })
    assert.deepEqual(await ask(session, url, { connection: ben, method: 'POST', body: 'x' }), {
      status: 200,
      body: 'ben',
      on: ofBen,
    })
  }
  assert.equal(connector.status().origins[0]!.connections, 2)
})

test('nobody else gets it: no request without it, none of another connection, none of another application', async (t) => {
  const { session, url } = await start(t)
  const own = await signOn(session, url, ana, 'ana')
  for (const hostile of [
    {},
    { connection: ben },
    { connection: `${ana}x` },
    { connection: ana.toUpperCase() },
    { connection: ana, app: 'app-2' },
    { app: `app-1 ${ana}` },
    { app: `connection app-1 ${ana}` },
  ]) {
    const answer = await ask(session, url, hostile)
    assert.equal(answer.status, 401, JSON.stringify(hostile))
    assert.notEqual(answer.on, own)
  }
  assert.equal((await ask(session, url, { connection: ana })).body, 'ana')
})

test('without a connection of its own nobody stays signed on, and nobody is taken for another', async (t) => {
  const { session, url, connector } = await start(t)
  assert.equal((await ask(session, url, { authorization: 'NTLM authenticate ana' })).body, 'ana')
  assert.equal((await ask(session, url, {})).status, 401)
  assert.equal(connector.status().origins[0]!.idle, 0)
})

test('it is used however old it is and whatever the request, while others are only used fresh', async (t) => {
  const { session, url } = await start(t, { originLimits: { freshMs: -1, maxAgeMs: -1 } })
  const own = await signOn(session, url, ana, 'ana')
  const post = { connection: ana, method: 'POST', body: 'x' }
  assert.deepEqual(await ask(session, url, post), { status: 200, body: 'ana', on: own })
})

test('it is closed when the connection of the client is, and nothing else is', async (t) => {
  const { session, url, origin, connector } = await start(t)
  await signOn(session, url, ana, 'ana')
  const [socket] = origin.connections.all
  const closed = new Promise((resolve) => socket!.once('close', resolve))
  await signOn(session, url, ben, 'ben')
  const forget = { users: [], sessions: [], connections: [ana, 'never-heard-of-that'] }
  const telling = new GatewayStream(session, `\0${JSON.stringify({ v: 1, forget })}`)
  telling.stream.sendHead('FORGET', true)
  assert.equal((await telling.failed()).resetCode, ResetCode.NO_ERROR)
  await closed
  assert.equal((await ask(session, url, { connection: ana })).status, 401)
  assert.equal((await ask(session, url, { connection: ben })).body, 'ben')
  assert.equal(connector.status().origins[0]!.connections, 2)
})

test('an origin that closes it gets the next request over a new one, on which nobody is signed on', async (t) => {
  const { session, url, origin } = await start(t)
  const own = await signOn(session, url, ana, 'ana')
  origin.connections.all[0]!.destroy()
  const answer = await ask(session, url, { connection: ana })
  assert.equal(answer.status, 401)
  assert.notEqual(answer.on, own)
})

test('a name of a connection that is none is refused', async (t) => {
  const { session, url } = await start(t)
  for (const connection of [
    '',
    'short',
    'x'.repeat(65),
    'sixteen with spaces',
    'a\nsixteen-letters',
    17,
  ])
    assert.equal(
      (await failure(session, { url, connection: connection as string })).resetCode,
      ResetCode.PROTOCOL_ERROR,
      String(connection),
    )
})

test('a WebSocket is asked who it is, and opened, over the connection that is its own', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const head = 'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket'
  const opening = openText({ url: origin.url, upgrade: true, connection: ana })
  const asked = new GatewayStream(session, opening)
  asked.stream.sendHead(head)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write(
    'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n',
  )
  assert.match(await asked.heads.take(), /^HTTP\/1\.1 401 /)
  asked.stream.end()
  await asked.ended().catch(() => undefined)
  const opened = new GatewayStream(session, opening)
  opened.stream.sendHead(`${head}\r\nAuthorization: NTLM negotiate`)
  assert.match(await connection.requests.take(), /Authorization: NTLM negotiate/)
  connection.socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  )
  assert.match(await opened.heads.take(), /^HTTP\/1\.1 101 /)
  assert.equal(origin.connections.all.length, 1)
  opened.stream.reset(ResetCode.CANCELLED)
})
