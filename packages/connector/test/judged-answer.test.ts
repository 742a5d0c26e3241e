// The head of an answer may be judged for a while (the gssapi engine asks another process whether who answered is to be
// believed). What the origin and the gateway do meanwhile comes to the same as if they had done it after.
import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { ResetCode, TunnelSession } from '@sallyport/protocol'
import { openOrigins } from '../src/connector.ts'
import { Deadlines } from '../src/deadlines.ts'
import { Exchange } from '../src/exchange.ts'
import type { ExchangeHost } from '../src/exchange-host.ts'
import { OriginFailure } from '../src/failure.ts'
import { parseAllowRules } from '../src/index.ts'
import { Instructions } from '../src/instruction.ts'
import { OriginRequests } from '../src/origin-request.ts'
import { Assertions } from '../src/sign-on/assertion.ts'
import { type AnswerOutcome, SignOn } from '../src/sign-on/sign-on.ts'
import { makeAuthority } from './authority.ts'
import { Inbox } from './inbox.ts'
import { type RawConnection, startRawOrigin } from './origins.ts'
import { GatewayStream, openText, recordLog, serviceHost } from './service.ts'
import { identityNames, toClaims, toToken } from './tokens.ts'

const webSocket = 'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket'
const get = 'GET / HTTP/1.1\r\nHost: x'
const switching =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
const untrusted = new OriginFailure(ResetCode.SIGN_ON_FAILED, 'nobody knows who has answered')

/** Exchanges of a connector whose sign-on judges each answer when the test says so. */
async function start(t: TestContext, secure: boolean) {
  const ca = await makeAuthority('CA')
  const identity = await ca.issue(identityNames)
  const origin = await startRawOrigin(t, secure ? await ca.issue({ ip: ['127.0.0.1'] }) : undefined)
  const log = recordLog()
  const { origins, certificates } = openOrigins(
    {
      service: `https://${serviceHost}`,
      connectorId: 'c1',
      connectorGroup: 'default',
      name: 'test',
      allow: [],
    },
    {
      log,
      clock: Date.now,
      allow: parseAllowRules(['127.0.0.1']),
      ownAddresses: () => [],
      resolve: async () => [],
      originCa: ca.pem,
    },
  )
  const judgements = new Inbox<PromiseWithResolvers<AnswerOutcome>>()
  let unended = 0
  const host: ExchangeHost = {
    instructions: new Instructions(origins),
    origins,
    requests: new OriginRequests(),
    assertions: new Assertions({
      caPem: () => ca.pem,
      serviceHost,
      connectorId: 'c1',
      clock: Date.now,
    }),
    signOn: new SignOn({
      kerberos: {
        authorize: () => {
          let ended = false
          unended += 1
          return {
            fields: ['Authorization', 'Negotiate dG9rZW4='],
            readAnswer: () => {
              const judgement = Promise.withResolvers<AnswerOutcome>()
              judgements.put(judgement)
              return judgement.promise
            },
            readBody: () => 'taken',
            isOwnField: () => false,
            end: () => {
              if (!ended) unended -= 1
              ended = true
            },
          }
        },
        forget: () => {},
        close: () => {},
      },
    }),
    deadlines: new Deadlines(),
    log,
    counters: { started: 0, active: 0, failed: 0, cancelled: 0, retried: 0 },
    pipes: new Set(),
  }
  const [gatewayEnd, connectorEnd] = duplexPair()
  const session = new TunnelSession(gatewayEnd, { side: 'gateway', onClose: () => {} })
  const connector = new TunnelSession(connectorEnd, {
    side: 'connector',
    onStream: (stream) => {
      stream.handler = new Exchange(host, stream)
    },
    onClose: () => {},
  })
  t.after(() => {
    session.close()
    connector.close()
    origins.close()
    certificates.close()
    host.deadlines.close()
  })
  const token = toToken(identity, toClaims(origin.url))

  /** The answer is being judged when it resolves. */
  const ask = async (answer: string, head = get) => {
    const opening = openText({ url: origin.url, upgrade: true })
    const gateway = new GatewayStream(session, `${opening}\n${token}`)
    gateway.stream.sendHead(head, head !== webSocket)
    const connection = await origin.connections.take()
    await connection.requests.take()
    connection.socket.write(answer)
    return { gateway, connection, judgement: await judgements.take() }
  }
  const facts = () => {
    const [found] = [...origins.list()]
    const { connectionCount: connections, idleCount: idle } = found!
    return { connections, idle, active: host.counters.active, pipes: host.pipes.size, unended }
  }
  /** Nothing is left of any exchange, and of connections only `idle` that wait for others. */
  const isOver = async (idle = 0) => {
    const expected = { connections: idle, idle, active: 0, pipes: 0, unended: 0 }
    for (let count = 0; count < 500 && !isDeepStrictEqual(facts(), expected); count += 1)
      await turns(1)
    assert.deepEqual(facts(), expected)
  }
  /** The answer is not believed, and the gateway hears of it. */
  const turnDown = async (
    { gateway, connection, judgement }: Awaited<ReturnType<typeof ask>>,
    isRefused: boolean,
    waited: number,
  ) => {
    await turns(waited)
    if (isRefused) judgement.resolve('refused')
    else judgement.reject(untrusted)
    assert.equal((await gateway.failed()).resetCode, ResetCode.SIGN_ON_FAILED)
    await connection.closed
    await isOver()
  }
  return { host, origin, judgements, ask, facts, isOver, turnDown }
}

async function turns(count: number): Promise<void> {
  for (; count > 0; count -= 1) await new Promise((resolve) => setImmediate(resolve))
}

// What the origin does has arrived before the judgement, or arrives after it.
for (const secure of [false, true])
  for (const waited of [40, 0]) {
    const when = `${secure ? 'TLS' : 'TCP'}, ${waited > 0 ? 'before' : 'around'} the judgement`

    test(`an origin that ends its half while its 101 is judged has ended its half of the pipe (${when})`, async (t) => {
      const { ask, facts, isOver } = await start(t, secure)
      for (const last of ['', 'bye']) {
        for (const atOnce of [true, false]) {
          const { gateway, connection, judgement } = await ask(
            atOnce ? switching + last : switching,
            webSocket,
          )
          connection.socket.end(atOnce ? '' : last)
          await turns(waited)
          assert.deepEqual([gateway.heads.all, gateway.body], [[], ''])
          judgement.resolve('taken')
          await gateway.ended()
          assert.match(gateway.heads.last!, /^HTTP\/1\.1 101 /)
          assert.equal(gateway.body, last)
          assert.deepEqual(facts(), { connections: 1, idle: 0, active: 1, pipes: 1, unended: 0 })
          gateway.stream.write(Buffer.from('still'))
          gateway.stream.end()
          await connection.closed
          assert.equal(connection.rest, 'still')
          await isOver()
        }
      }
    })

    test(`an origin that goes away while its 101 is judged is missed when the client writes (${when})`, async (t) => {
      const { ask, isOver } = await start(t, secure)
      const { gateway, connection, judgement } = await ask(switching, webSocket)
      connection.socket.destroy()
      await turns(waited)
      judgement.resolve('taken')
      await gateway.ended()
      // The first is answered by a reset, which nobody reads from a half that has ended; the next one hears of it.
      for (let count = 0; count < 500 && gateway.outcomes.all.length === 1; count += 1) {
        gateway.stream.write(Buffer.from('anybody?'))
        await turns(1)
      }
      assert.equal((await gateway.failed()).resetCode, ResetCode.NO_ERROR)
      await isOver()
    })

    test(`an origin that resets while its 101 is judged ends the pipe (${when})`, async (t) => {
      const { host, ask, isOver } = await start(t, secure)
      for (const answer of [switching, `${switching}data`]) {
        const { gateway, connection, judgement } = await ask(answer, webSocket)
        connection.reset()
        await turns(waited)
        judgement.resolve('taken')
        assert.equal((await gateway.failed()).resetCode, ResetCode.CONNECTION_RESET)
        await isOver()
      }
      assert.equal(host.counters.failed, 2)
    })

    test(`an origin that is not believed gets no pipe, whatever it does meanwhile (${when})`, async (t) => {
      const { host, ask, turnDown } = await start(t, secure)
      const acts: ((connection: RawConnection) => void)[] = [
        () => {},
        (connection) => connection.socket.end(),
        (connection) => connection.socket.end('data'),
        (connection) => connection.socket.destroy(),
        (connection) => connection.reset(),
      ]
      for (const act of acts)
        for (const isRefused of [true, false]) {
          const asked = await ask(switching, webSocket)
          act(asked.connection)
          await turnDown(asked, isRefused, waited)
          const { gateway } = asked
          assert.deepEqual([gateway.heads.all, gateway.body], [[], ''])
        }
      assert.equal(host.counters.failed, 2 * acts.length)
    })

    test(`a client that leaves while the answer is judged takes the connection with it (${when})`, async (t) => {
      const { host, ask, isOver } = await start(t, secure)
      for (const [head, answer] of [
        [webSocket, switching],
        [webSocket, `${switching}data`],
        [get, 'HTTP/1.1 204 No Content\r\n\r\n'],
        [get, 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody'],
      ] as const)
        for (const hasEnded of [false, true]) {
          const { gateway, connection, judgement } = await ask(answer, head)
          if (hasEnded) connection.socket.end()
          await turns(waited)
          gateway.stream.reset(ResetCode.CANCELLED)
          await isOver()
          await connection.closed
          judgement.resolve('taken')
          await isOver()
          assert.deepEqual([gateway.heads.all, gateway.body], [[], ''])
        }
      assert.equal(host.counters.cancelled, 8)
      assert.equal(host.counters.failed, 0)
    })

    test(`a client that ends its half while the 101 is judged has ended its half of the pipe (${when})`, async (t) => {
      const { ask, isOver } = await start(t, secure)
      for (const originFirst of [true, false]) {
        const { gateway, connection, judgement } = await ask(`${switching}data`, webSocket)
        if (originFirst) connection.socket.end()
        gateway.stream.end()
        await turns(waited)
        judgement.resolve('taken')
        await connection.closed
        if (!originFirst) connection.socket.end()
        await gateway.ended()
        assert.equal(gateway.body, 'data')
        await isOver()
      }
    })

    test(`an answer comes whole after it was judged, and its connection serves again (${when})`, async (t) => {
      const { ask, isOver, origin } = await start(t, secure)
      for (const outcome of ['taken', 'inspect'] as const) {
        const { gateway, connection, judgement } = await ask(
          'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody',
        )
        await turns(waited)
        assert.deepEqual([gateway.heads.all, gateway.body], [[], ''])
        judgement.resolve(outcome)
        await gateway.ended()
        assert.equal(gateway.body, 'body')
        await isOver(1)
        connection.socket.destroy()
        await isOver()
      }
      assert.equal(origin.connections.all.length, 2)
    })

    test(`an answer whose origin ends or resets meanwhile is as complete as it was (${when})`, async (t) => {
      const { ask, isOver } = await start(t, secure)
      for (const head of [
        'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n',
        'HTTP/1.1 200 OK\r\n\r\n',
      ]) {
        const whole = await ask(`${head}body`)
        whole.connection.socket.end()
        await turns(waited)
        whole.judgement.resolve('taken')
        await whole.gateway.ended()
        assert.equal(whole.gateway.body, 'body')
        await isOver()

        const broken = await ask(`${head}bo`)
        broken.connection.reset()
        await turns(waited)
        broken.judgement.resolve('taken')
        assert.equal((await broken.gateway.failed()).resetCode, ResetCode.CONNECTION_RESET)
        await isOver()
      }
    })

    test(`a connection whose answer was not taken serves nobody, also if its head was all (${when})`, async (t) => {
      const { ask, isOver, turnDown, origin, judgements } = await start(t, secure)
      for (const answer of [
        'HTTP/1.1 204 No Content\r\n\r\n',
        'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n',
        'HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno',
      ]) {
        for (const isRefused of [true, false]) await turnDown(await ask(answer), isRefused, waited)
        const { gateway, connection, judgement } = await ask(answer)
        await turns(waited)
        judgement.resolve('again')
        const second = await origin.connections.take()
        await connection.closed
        second.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond')
        ;(await judgements.take()).resolve('taken')
        await gateway.ended()
        assert.equal(gateway.body, 'second')
        await isOver()
      }
    })
  }
