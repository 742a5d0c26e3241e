import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import type { IdentitySession } from '@sallyport/domain'
import type { TestConnector } from './support/connector.ts'
import {
  app,
  hourMs,
  person,
  request,
  TestGateway,
  type TestGatewayOptions,
} from './support/gateway.ts'

const host = 'iwa.example.test'

function start(t: TestContext, options: Partial<TestGatewayOptions> = {}) {
  const system = new TestGateway(t, {
    applications: [
      app('iwa', { connectionAuthentication: true }),
      app('plain'),
      app('open', { connectionAuthentication: true, preAuthentication: 'passthrough' }),
      app('below', { connectionAuthentication: true, externalUrl: `https://${host}/below/` }),
    ],
    ...options,
  })
  return { system, connector: answering(system) }
}

/** A connector whose origins ask everybody who they are. */
function answering(system: TestGateway, id?: string): TestConnector {
  return system.addConnector(id === undefined ? {} : { id }, (relayed) => {
    if (!('forget' in relayed.instruction)) relayed.answer(401, ['WWW-Authenticate', 'NTLM'])
  })
}

const streams = (connector: TestConnector) =>
  connector.streams.filter(({ instruction }) => !('forget' in instruction))
const forgotten = (connector: TestConnector) =>
  connector.streams.flatMap(({ instruction }) =>
    'forget' in instruction
      ? ((instruction.forget as { connections?: string[] }).connections ?? [])
      : [],
  )

/** One connection of a client, and what a connector is told of each of its requests. */
function client(system: TestGateway, serverName: string | undefined = host) {
  const wire = system.connect(serverName)
  return {
    wire,
    ask: async (session?: IdentitySession, to = { host, path: '/' }) => {
      const known = new Set(system.connectors.flatMap(streams))
      const cookie = session ? { Cookie: system.cookie(session, to.host) } : {}
      wire.send(request(to.path, to.host, cookie))
      assert.equal((await wire.response()).statusCode, 401)
      const [relayed] = system.connectors.flatMap(streams).filter((one) => !known.has(one))
      return relayed!.instruction.connection as string | undefined
    },
  }
}

test('requests of one connection and one session name the same connection to the connector, which nobody can guess', async (t) => {
  const { system } = start(t)
  const [ana, ben] = [person('ana'), person('ben')]
  const one = client(system)
  const name = await one.ask(ana)
  assert.match(name!, /^[\w-]{24}$/)
  assert.equal(await one.ask(ana), name)
  const names = new Set([
    name,
    await one.ask(ben),
    await one.ask(ana, { host, path: '/below/' }),
    await client(system).ask(ana),
    await client(system).ask(ben),
  ])
  assert.equal(names.size, 5, 'another person, application or connection has another')
  assert.equal(await one.ask(ana), name)
})

test('an application that authenticates requests alone is told of no connection', async (t) => {
  const { system } = start(t)
  const to = { host: 'plain.example.test', path: '/' }
  assert.equal(await client(system, to.host).ask(person('ana'), to), undefined)
})

test('a connection that may carry requests of several people is never one of a client', async (t) => {
  const { system } = start(t, { trustedProxies: ['192.0.2.1'] })
  const to = { host: 'open.example.test', path: '/' }
  assert.equal(await client(system, to.host).ask(undefined, to), undefined, 'a proxy, over TLS')
  const behind = start(t)
  const wire = behind.system.connect()
  wire.send(request('/', to.host))
  assert.equal((await wire.response()).statusCode, 401)
  assert.equal(streams(behind.connector)[0]!.instruction.connection, undefined, 'without TLS')
})

test('an application without sign-in gets one for each connection', async (t) => {
  const { system } = start(t)
  const to = { host: 'open.example.test', path: '/' }
  const one = client(system, to.host)
  const name = await one.ask(undefined, to)
  assert.equal(await one.ask(undefined, to), name)
  assert.notEqual(await client(system, to.host).ask(undefined, to), name)
})

test('the connector hears when the connection of the client has closed', async (t) => {
  const { system, connector } = start(t)
  const [one, other] = [client(system), client(system)]
  const name = await one.ask(person('ana'))
  await other.ask(person('ana'))
  one.wire.socket.end()
  await connector.until(() => forgotten(connector).length > 0)
  assert.deepEqual(forgotten(connector), [name])
})

test('the connector hears when the session has ended, by an event or by its limit', async (t) => {
  const { system, connector } = start(t)
  const [ana, ben] = [person('ana'), person('ben')]
  const one = client(system)
  const ofAna = await one.ask(ana)
  const ofBen = await one.ask(ben)
  system.gateway.apply({ kind: 'session-ended', sessionId: ana.sessionId, at: system.nowAt })
  await connector.until(() => forgotten(connector).length > 0)
  assert.deepEqual(forgotten(connector), [ofAna])
  system.nowAt += 13 * hourMs
  system.gateway.sweep()
  await connector.until(() => forgotten(connector).length > 1)
  assert.deepEqual(forgotten(connector), [ofAna, ofBen])
})

test('all requests of a connection go to the connector that holds it, and to another by another name only', async (t) => {
  const { system, connector } = start(t)
  const second = answering(system, 'other')
  const one = client(system)
  const name = await one.ask(person('ana'))
  const holder = streams(connector).length > 0 ? connector : second
  for (let round = 0; round < 4; round += 1) assert.equal(await one.ask(person('ana')), name)
  assert.equal(streams(holder).length, 5)
  holder.session.close()
  for (const end of holder.ends) end.destroy()
  await holder.until(() => holder.closed)
  const again = await one.ask(person('ana'))
  assert.ok(again !== undefined && again !== name)
  assert.equal(await one.ask(person('ana')), again)
})
