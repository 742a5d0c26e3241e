import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { after, before, suite, test } from 'node:test'
import {
  createDns,
  Kdcs,
  type KdcsOptions,
  type KerberosEngineOptions,
  type KerberosError,
} from '@sallyport/kerberos'
import { lastFirst, type Scope } from '@sallyport/testkit'
import { AccountFlag, type ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { IwaApplication } from '@sallyport/testkit/iwa-application'
import { ask, authorize, person, startEngine } from './support.ts'

const app = 'app.corp.example'
const spn = `HTTP/${app}`
const minuteMs = 60_000

suite('what changes and what fails while a connector runs', () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  let application: IwaApplication
  before(async () => {
    directory = await startCorpExample(scope)
    application = await IwaApplication.start(scope, directory, [app])
  })

  /** An engine whose exchanges are counted and whose clock the test moves. */
  async function startWatched(
    t: Scope,
    {
      account = 'svc-connector',
      kdcs: kdcOptions,
      ...options
    }: Partial<Omit<KerberosEngineOptions, 'kdcs'>> & {
      keytab?: string
      kdcs?: KdcsOptions
    } = {},
  ) {
    const clock = { aheadMs: 0, now: () => Date.now() + clock.aheadMs }
    const realms = { [directory.realm]: [directory.kdc] }
    const kdcs = new Kdcs({ realms, now: clock.now, ...kdcOptions })
    const counted = { exchanges: 0, before: (_exchange: number) => {} }
    const warnings: KerberosError[] = []
    const engine = await startEngine(directory, account, {
      kdcs: {
        exchange: (realm, message, signal) => {
          counted.exchanges += 1
          counted.before(counted.exchanges)
          return kdcs.exchange(realm, message, signal)
        },
      },
      now: clock.now,
      onWarning: (warning) => warnings.push(warning),
      ...options,
    })
    t.after(() => engine.close())
    return { engine, clock, counted, warnings }
  }

  async function newUser(t: Scope, sam: string): Promise<void> {
    await directory.user(sam)
    t.after(() => directory.remove(sam))
  }

  test('without KDC cached users go on, new ones fail at once, and all is well when it is back', async (t) => {
    const { engine, clock } = await startWatched(t)
    await authorize(engine, person('alice'), spn)
    await directory.stopKdc()
    t.after(() => directory.startKdc())
    const { token } = await authorize(engine, person('alice'), spn)
    assert.equal((await ask(application, { host: app, token })).status, 200)
    for (let failure = 0; failure < 3; failure += 1) {
      await assert.rejects(authorize(engine, person('bbuilder'), spn), (error: KerberosError) => {
        assert.deepEqual([error.code, error.retryable], ['KERBEROS_KDC_UNREACHABLE', true])
        assert.deepEqual(error.facts.attempts, [{ ...directory.kdc, reason: 'ECONNREFUSED' }])
        return true
      })
    }
    // From now on nobody is even tried, until the time that the error names.
    let retryAt = 0
    await assert.rejects(authorize(engine, person('bbuilder'), spn), (error: KerberosError) => {
      assert.equal(error.facts.reason, 'circuit-open')
      retryAt = error.facts.retryAt!
      return true
    })
    await directory.startKdc()
    clock.aheadMs += retryAt - clock.now()
    const { principal } = await authorize(engine, person('bbuilder'), spn)
    assert.equal(principal, 'bbuilder@CORP.EXAMPLE')
  })

  test('the circuit opens for longer while nothing gets better, and closes by one success', async (t) => {
    const { engine, clock } = await startWatched(t, {
      kdcs: { breaker: { failures: 2, openMs: 1000, maxOpenMs: 3000 } },
    })
    await directory.stopKdc()
    t.after(() => directory.startKdc())
    const fail = async () => {
      try {
        await authorize(engine, person('alice'), spn)
        return 'success'
      } catch (error) {
        const { facts } = error as KerberosError
        return facts.retryAt === undefined ? 'tried' : facts.retryAt - clock.now()
      }
    }
    assert.equal(await fail(), 'tried')
    for (const openMs of [1000, 2000, 3000, 3000]) {
      assert.equal(await fail(), 'tried')
      const left = await fail()
      assert.ok(typeof left === 'number' && left > openMs - 900 && left <= openMs, `${left}`)
      clock.aheadMs += left
    }
    await directory.startKdc()
    assert.equal(await fail(), 'success')
  })

  test('a silent KDC costs one caller its limit, and the next KDC answers for all', async (t) => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => void sockets.push(socket)).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    t.after(() => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    const { port } = silent.address() as { port: number }
    // Long enough that a busy machine does not make the other KDC a silent one.
    const timeoutMs = 2000
    const { engine } = await startWatched(t, {
      kdcs: {
        realms: { [directory.realm]: [{ host: '127.0.0.1', port }, directory.kdc] },
        timeoutMs,
      },
    })
    const startedAt = performance.now()
    await authorize(engine, person('alice'), spn)
    assert.ok(performance.now() - startedAt >= timeoutMs)
    await Promise.all(['bbuilder', 'judy'].map((name) => authorize(engine, person(name), spn)))
    assert.equal(sockets.length, 1)
  })

  for (const [what, answer] of [
    ['closes', (socket: Socket) => socket.end()],
    ['sends a length that nobody would read', (socket: Socket) => socket.write('HTTP/1.1 400 ')],
    ['sends nothing of the length it promised', (socket: Socket) => socket.end('\0\0\0\x40')],
  ] as const) {
    test(`a KDC that ${what} is one that failed`, async (t) => {
      const odd = createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => answer(socket))
      }).listen(0, '127.0.0.1')
      await once(odd, 'listening')
      t.after(() => void odd.close())
      const address = { host: '127.0.0.1', port: (odd.address() as { port: number }).port }
      const { engine } = await startWatched(t, {
        kdcs: { realms: { [directory.realm]: [address] }, timeoutMs: 1000 },
      })
      await assert.rejects(authorize(engine, person('alice'), spn), (error: KerberosError) => {
        assert.equal(error.code, 'KERBEROS_KDC_UNREACHABLE')
        assert.notEqual(error.facts.attempts![0]!.reason, 'no answer in 1000 ms')
        return true
      })
    })
  }

  test('whoever gives up waiting does not end the exchange of the others', async (t) => {
    const { engine, counted } = await startWatched(t)
    const leaving = new AbortController()
    const request = { user: person('alice'), spn, format: 'spnego' } as const
    const left = engine.authorize({ ...request, signal: leaving.signal })
    const stays = engine.authorize(request)
    leaving.abort(new Error('the client left'))
    await assert.rejects(left, { message: 'the client left' })
    assert.equal((await stays).principal, 'alice@CORP.EXAMPLE')
    assert.equal(counted.exchanges, 4)
  })

  test('domain controllers are found by the SRV records of the domain, with their own DNS', async (t) => {
    const dns = createDns([directory.ip])
    const { engine } = await startWatched(t, { kdcs: { realms: {}, dns } })
    const { token } = await authorize(engine, person('alice'), spn)
    assert.equal((await ask(application, { host: app, token })).status, 200)
    await assert.rejects(
      authorize(engine, { ...person('alice'), realm: 'NOWHERE.EXAMPLE' }, spn),
      (error: KerberosError) =>
        ['KERBEROS_REALM_UNKNOWN', 'KERBEROS_KDC_UNREACHABLE'].includes(error.code),
    )
  })

  test('a user disabled meanwhile is refused after the flush, or after the cache bound', async (t) => {
    await newUser(t, 'leaver')
    const { engine, clock } = await startWatched(t)
    await authorize(engine, person('leaver'), spn)
    await directory.setFlags('leaver', { set: AccountFlag.DISABLED })
    clock.aheadMs = 14 * minuteMs
    await authorize(engine, person('leaver'), spn)
    clock.aheadMs = 15 * minuteMs
    const refused = { code: 'KERBEROS_USER_DISABLED' }
    await assert.rejects(authorize(engine, person('leaver'), spn), refused)
    await directory.setFlags('leaver', { clear: AccountFlag.DISABLED })
    await authorize(engine, person('leaver'), spn)
    await directory.setFlags('leaver', { set: AccountFlag.DISABLED })
    await authorize(engine, person('leaver'), spn)
    engine.forgetUser(person('leaver'))
    await assert.rejects(authorize(engine, person('leaver'), spn), refused)
  })

  test('a user forgotten while the first exchange is under way is not in the cache after it', async (t) => {
    const { engine, counted } = await startWatched(t)
    // The third exchange asks for the evidence.
    counted.before = (exchange) => {
      if (exchange === 3) engine.forgetUser(person('alice'))
    }
    await authorize(engine, person('alice'), spn)
    const before = counted.exchanges
    await authorize(engine, person('alice'), spn)
    // Nor is the evidence: both S4U2Self and S4U2Proxy are asked for again.
    assert.equal(counted.exchanges - before, 2)
  })

  test('a right of delegation that was taken away ends with the cache', async (t) => {
    const delegateTo = [spn, 'HTTP/app2.corp.example']
    const flags = AccountFlag.TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION
    await directory.service('svc-right', { spns: ['HTTP/right.corp.example'], delegateTo, flags })
    t.after(() => directory.remove('svc-right'))
    const { engine, clock } = await startWatched(t, { account: 'svc-right' })
    await authorize(engine, person('alice'), spn)
    await directory.change('svc-right', { msDS_AllowedToDelegateTo: [delegateTo[1]!] })
    await authorize(engine, person('alice'), spn)
    clock.aheadMs = 15 * minuteMs
    await assert.rejects(authorize(engine, person('alice'), spn), {
      code: 'KERBEROS_DELEGATION_DENIED',
    })
  })

  test('a changed password of the connector needs a new keytab, and no restart', async (t) => {
    const delegateTo = [spn, 'HTTP/app2.corp.example']
    const flags = AccountFlag.TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION
    await directory.service('svc-rotated', {
      spns: ['HTTP/rotated.corp.example'],
      delegateTo,
      flags,
    })
    t.after(() => directory.remove('svc-rotated'))
    const keytab = await directory.keytab('svc-rotated')
    const { engine } = await startWatched(t, { account: 'svc-rotated', keytab })
    await authorize(engine, person('alice'), spn)
    await directory.setPassword('svc-rotated', 'Another-Passw0rd!')
    // Its own ticket is still good, and what it gets with that is sealed with a key that the file has not.
    await assert.rejects(authorize(engine, person('bbuilder'), spn), (error: KerberosError) => {
      assert.equal(error.code, 'KERBEROS_KEYTAB_STALE')
      return true
    })
    await directory.keytab('svc-rotated', keytab)
    await authorize(engine, person('bbuilder'), spn)
    // Evidence from before: the KDC cannot open it any more.
    await authorize(engine, person('alice'), 'HTTP/app2.corp.example')
  })

  for (const [what, aheadMs] of [
    ['ten minutes ahead', 10 * minuteMs],
    ['ten minutes behind', -10 * minuteMs],
    ['a day ahead', 1440 * minuteMs],
  ] as const) {
    test(`with a clock ${what} sign-on works, and one warning has both times`, async (t) => {
      const { engine, clock, warnings } = await startWatched(t)
      clock.aheadMs = aheadMs
      const { token, verifyReply } = await authorize(engine, person('alice'), spn)
      const { status, reply } = await ask(application, { host: app, token })
      assert.equal(status, 200)
      verifyReply(reply)
      assert.equal(warnings.length, 1)
      const [{ code, facts }] = warnings as [KerberosError]
      assert.equal(code, 'KERBEROS_CLOCK_SKEW')
      const skewMs = facts.clientAt! - facts.kdcAt!
      assert.ok(Math.abs(skewMs - aheadMs) < 3000, `${skewMs}`)
      // Nor is it forgotten what the KDC's clock said.
      await authorize(engine, person('bbuilder'), spn)
      assert.equal(warnings.length, 1)
    })
  }

  test('a clock that jumps while a ticket of ours is in use is followed', async (t) => {
    const { engine, clock, warnings } = await startWatched(t)
    await authorize(engine, person('alice'), spn)
    clock.aheadMs = 20 * minuteMs
    const { token } = await authorize(engine, person('judy'), spn)
    assert.equal((await ask(application, { host: app, token })).status, 200)
    assert.equal(warnings.length, 1)
  })

  test('an application whose clock is wrong says so, with its time', async (t) => {
    const { engine, clock } = await startWatched(t)
    await authorize(engine, person('alice'), spn)
    // The ticket is there, so no KDC corrects us: to the application we are the ones who are wrong.
    clock.aheadMs = 10 * minuteMs
    const { token, verifyReply } = await authorize(engine, person('alice'), spn)
    const { status, reply } = await ask(application, { host: app, token })
    assert.equal(status, 401)
    assert.throws(
      () => verifyReply(reply),
      (error: KerberosError) => {
        assert.equal(error.code, 'KERBEROS_CLOCK_SKEW')
        const skewMs = error.facts.clientAt! - error.facts.kdcAt!
        assert.ok(Math.abs(skewMs - 10 * minuteMs) < 3000, `${skewMs}`)
        return true
      },
    )
  })

  test('a ticket of ours is renewed before the last minutes in which a KDC refuses it', async (t) => {
    const short = await startWatched(t, { ticketLifetimeMs: 100_000 })
    await assert.rejects(authorize(short.engine, person('alice'), spn), (error: KerberosError) => {
      assert.deepEqual([error.facts.stage, error.facts.kerberosCode], ['s4u2self', 32])
      return true
    })
    const { engine, clock, counted } = await startWatched(t, { ticketLifetimeMs: 170_000 })
    await authorize(engine, person('alice'), spn)
    await authorize(engine, person('judy'), spn)
    assert.equal(counted.exchanges, 6)
    clock.aheadMs = 30_000
    await authorize(engine, person('bbuilder'), spn)
    assert.equal(counted.exchanges, 10)
  })
})
