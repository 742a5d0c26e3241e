import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
  connectTls,
  lastFirst,
  navigation,
  password,
  type System,
  sendRaw,
  startSystem,
} from '@sallyport/testkit'

const limitMs = 2_000

// Access that ends while a request is on its way: while its session is read, while it waits, while it is answered.
suite('attacks on access that has ended', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System
  /** Holds back what identity answers, after it has been read. */
  let held: Promise<void> | undefined
  let reads = 0

  before(async () => {
    system = await startSystem(scope, {
      applications: [
        { name: 'app' },
        { name: 'grouped', assigned: [] },
        { name: 'open', preAuthentication: 'passthrough' },
      ],
    })
    const { identity } = system.service.gateway.options
    const readSession = identity.readSession.bind(identity)
    identity.readSession = async (sessionId) => {
      reads += 1
      const session = await readSession(sessionId)
      await held
      return session
    }
    await system.execute('group.create', { name: 'staff' })
    await system.execute('group.add-member', { group: 'staff', user: 'ana' })
    await system.execute('app.assign', { name: 'grouped', group: 'staff' })
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const changes: [
    what: string,
    name: string,
    change: () => Promise<unknown>,
    undo: () => Promise<unknown>,
  ][] = [
    [
      'is disabled',
      'app',
      () => system.execute('user.disable', { userName: 'ana' }),
      () => system.execute('user.enable', { userName: 'ana' }),
    ],
    [
      'gets a new password',
      'app',
      () => system.execute('user.set-password', { userName: 'ana', password }),
      async () => undefined,
    ],
    ['is signed out by an administrator', 'app', () => endSessions(), async () => undefined],
    [
      'leaves the group that is assigned',
      'grouped',
      () => system.execute('group.remove-member', { group: 'staff', user: 'ana' }),
      () => system.execute('group.add-member', { group: 'staff', user: 'ana' }),
    ],
    [
      'loses the assignment of the group',
      'grouped',
      () => system.execute('app.unassign', { name: 'grouped', group: 'staff' }),
      () => system.execute('app.assign', { name: 'grouped', group: 'staff' }),
    ],
  ]

  async function endSessions(): Promise<void> {
    const sessions = (await system.execute('session.list', { user: 'ana' })) as { id: string }[]
    for (const { id } of sessions) await system.execute('session.end', { sessionId: id })
  }

  function open(name: string) {
    return connectTls({ port: system.port, ca: system.ca, host: system.host(name) })
  }

  const request = (name: string, cookie: string, start = 'GET / HTTP/1.1', fields = '') =>
    `${start}\r\nHost: ${system.host(name)}:${system.port}\r\n${cookie === '' ? '' : `Cookie: ${cookie}\r\n`}${fields}\r\n`

  for (const [what, name, change, undo] of changes)
    test(`attack 39: of requests that wait for a session whose owner ${what}, none reaches the origin`, async () => {
      const client = await system.signIn('ana', name)
      const cookie = client.cookieHeader(system.host(name))
      // The claims are asked for again.
      await system.execute('user.update', { userName: 'ana', displayName: `Ana ${reads}` })
      const origin = system.origin(name)
      origin.requests.length = 0
      reads = 0
      let release = () => {}
      held = new Promise((resolve) => {
        release = resolve
      })
      const socket = await open(name)
      const text = sendRaw(
        socket,
        request(name, cookie) +
          request(name, cookie) +
          request(name, cookie, 'GET / HTTP/1.1', 'Connection: close\r\n'),
      )
      while (reads === 0) await new Promise((resolve) => setImmediate(resolve))
      await change()
      held = undefined
      release()
      const statuses = [...(await text).matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])
      await undo()
      assert.equal(statuses.length, 3)
      for (const status of statuses) assert.match(status!, /401|403/)
      assert.deepEqual(origin.requests, [])
    })

  test('attack 39: a cookie that is due to be sealed again is not, once its owner is disabled', async () => {
    const client = await system.signIn('ana', 'app')
    const { gateway } = system.service
    const [name, value] = [...client.cookies.get(system.host('app'))!].find(
      ([cookie]) => !cookie.includes('signin'),
    )!
    const { sessionId } = gateway.sessionCookies.open(value, system.host('app'))!
    const session = await gateway.options.identity.readSession(sessionId)
    const old = gateway.sessionCookies.seal(session!, system.host('app'), Date.now() - 2_400_000)
    let release = () => {}
    held = new Promise((resolve) => {
      release = resolve
    })
    reads = 0
    const socket = await open('app')
    const text = sendRaw(
      socket,
      request('app', `${name}=${old.value}`, 'GET / HTTP/1.1', 'Connection: close\r\n'),
    )
    while (reads === 0) await new Promise((resolve) => setImmediate(resolve))
    await system.execute('user.disable', { userName: 'ana' })
    held = undefined
    release()
    assert.match(await text, /^HTTP\/1\.1 401 /)
    assert.doesNotMatch(await text, /set-cookie: __Host-sallyport-\d+=v1/i)
    await system.execute('user.enable', { userName: 'ana' })
  })

  /** An answer without end, or a request without end; resolves when it is under way. */
  async function begin(name: string, client: Client | undefined, kind: 'answer' | 'request') {
    const origin = system.origin(name)
    const cookie = client ? client.cookieHeader(system.host(name)) : ''
    let closedAt = Number.POSITIVE_INFINITY
    const socket = await open(name)
    let text = ''
    socket.on('error', () => socket.destroy())
    const begun = new Promise<void>((resolve) => {
      origin.handler = (incoming, response) => {
        incoming.on('error', () => response.destroy())
        if (kind === 'request') incoming.once('data', () => resolve())
        else response.write('data: begun\n\n')
        incoming.socket.once('close', () => {
          closedAt = performance.now()
        })
      }
      socket.on('data', (part: Buffer) => {
        text += part.toString('latin1')
        if (text.includes('begun')) resolve()
      })
    })
    const over = new Promise<void>((resolve) => {
      socket.on('close', () => resolve())
      socket.on('data', () => {
        // A request that has had no answer yet gets one.
        if (kind === 'request') resolve()
      })
    })
    socket.write(
      kind === 'answer'
        ? request(name, cookie)
        : `${request(name, cookie, 'POST / HTTP/1.1', 'Content-Length: 100000\r\n')}${'x'.repeat(5_000)}`,
    )
    await begun
    return {
      async endsAfter(change: () => Promise<unknown>) {
        const changedAt = performance.now()
        await change()
        await over
        while (closedAt === Number.POSITIVE_INFINITY)
          await new Promise((resolve) => setImmediate(resolve))
        assert.ok(performance.now() - changedAt < limitMs, 'within two seconds, origin included')
        socket.destroy()
        origin.handler = undefined
        return text
      },
    }
  }

  for (const [what, name, change, undo] of changes)
    test(`attack 27: an answer under way ends when its reader ${what}`, async () => {
      const stream = await begin(name, await system.signIn('ana', name), 'answer')
      await stream.endsAfter(change)
      await undo()
    })

  test('attack 27: a request under way is answered 401 when its sender is disabled', async () => {
    const stream = await begin('app', await system.signIn('ana', 'app'), 'request')
    const text = await stream.endsAfter(() => system.execute('user.disable', { userName: 'ana' }))
    assert.match(text, /^HTTP\/1\.1 401 /)
    await system.execute('user.enable', { userName: 'ana' })
  })

  test('attack 27: signing out in one tab ends the download in another', async () => {
    const client = await system.signIn('ana', 'app')
    const stream = await begin('app', client, 'answer')
    await stream.endsAfter(() =>
      client.get(system.url('app', '/.sallyport/signout'), {
        method: 'POST',
        headers: { origin: system.url('app').slice(0, -1), 'sec-fetch-site': 'same-origin' },
      }),
    )
  })

  test('attack 27: nothing outlasts the absolute limit of its session', async () => {
    const { gateway } = system.service
    const stream = await begin('app', await system.signIn('ana', 'app'), 'answer')
    const { clock } = gateway.options
    await stream.endsAfter(async () => {
      gateway.options.clock = () => Date.now() + 43_200_001
      gateway.sweep()
    })
    gateway.options.clock = clock
  })

  test('attack 27: an open stream follows its application: sign-in asked for, moved, deleted', async () => {
    const set = (fields: object) => system.execute('app.update', { name: 'open', set: fields })
    for (const [change, undo] of [
      [
        () => set({ preAuthentication: 'identity' }),
        () => set({ preAuthentication: 'passthrough' }),
      ],
      [
        () => set({ externalUrl: system.url('other') }),
        () => set({ externalUrl: system.url('open') }),
      ],
      [() => system.execute('app.delete', { name: 'open' }), async () => undefined],
    ] as const) {
      const stream = await begin('open', undefined, 'answer')
      await stream.endsAfter(change)
      await undo()
    }
    assert.equal(system.service.gateway.open.size, 0)
  })

  test('attack 27: a revoked connector answers nobody any more', async () => {
    const client = await system.signIn('ana', 'app')
    const stream = await begin('app', client, 'answer')
    await stream.endsAfter(() => system.execute('connector.revoke', { connector: 'connector-1' }))
    const { status } = await client.get(system.url('app'), { headers: navigation })
    assert.equal(status, 503)
  })
})
