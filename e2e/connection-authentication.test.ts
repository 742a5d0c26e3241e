import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { promisify } from 'node:util'
import {
  type Client,
  lastFirst,
  launchBrowser,
  newProfile,
  password,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import { answerChallenge, NtlmOrigin, negotiate, startNtlmApache } from './support/ntlm-origins.ts'

const run = promisify(execFile)

/** Passwords of the domain: the service knows none of them. */
const accounts = { ana: 'secret of ana inside', ben: 'secret of ben inside' }
const names = ['ana', 'ben'] as const

/** Applications that people sign in to by NTLM themselves, through gateway, tunnel and connector. */
suite('origins that authenticate connections', () => {
  let close: () => Promise<void>
  let system: System
  let apache: Awaited<ReturnType<typeof startNtlmApache>>
  let origin: NtlmOrigin
  let scope: ReturnType<typeof lastFirst>
  const people = new Map<string, Client>()

  before(async () => {
    scope = lastFirst({
      after: (run) => {
        close = async () => run()
      },
    })
    apache = await startNtlmApache(scope, accounts)
    origin = await NtlmOrigin.start(scope, accounts)
    const set = { connectionAuthentication: true }
    const [apacheUrl, ntlmUrl] = [apache.port, origin.port].map(
      (port) => `http://127.0.0.1:${port}/`,
    )
    system = await startSystem(scope, {
      connectors: 2,
      applications: [
        { name: 'negotiate', internalUrl: apacheUrl!, set },
        { name: 'shared', internalUrl: apacheUrl! },
        { name: 'ntlm', internalUrl: ntlmUrl!, set },
        {
          name: 'open',
          internalUrl: ntlmUrl!,
          preAuthentication: 'passthrough',
          set: { ...set, allowMixedPreAuthentication: true },
        },
      ],
      allow: [`127.0.0.1:${apache.port}`, `127.0.0.1:${origin.port}`],
    })
    writeFileSync(join(system.dir, 'ca.pem'), system.ca)
    for (const name of names) {
      const client = await system.signIn(name)
      for (const application of ['negotiate', 'shared', 'ntlm'])
        await client.open(system.url(application))
      people.set(name, client)
    }
  })
  after(() => close())

  interface Curl {
    /** Whose session with the service. */
    session?: string
    args: readonly string[]
    env?: Record<string, string>
    count?: number
  }

  /** So many requests over one connection. @returns for each status, who the server says it is, and body */
  async function curl(application: string, { session, args, env = {}, count = 1 }: Curl) {
    const host = system.host(application)
    const cookie = session ? ['-b', people.get(session)!.cookieHeader(host)] : []
    const common = ['-s', '--cacert', join(system.dir, 'ca.pem')]
    common.push('--resolve', `${host}:${system.port}:127.0.0.1`)
    const format = '\\n%{http_code} %{num_connects} %header{x-remote-user}\\n'
    const urls = Array.from({ length: count }, (_, index) => system.url(application, `/?${index}`))
    const { stdout } = await run('curl', [...common, ...cookie, ...args, '-w', format, ...urls], {
      env: { ...process.env, KRB5_CONFIG: '/dev/null', ...env },
    })
    const answers = [...stdout.matchAll(/^(.*)\n(\d{3}) (\d+) ?(.*)$/gm)].map(
      ([, body, status, connects, user]) => ({
        body,
        status: Number(status),
        connects: Number(connects),
        user,
      }),
    )
    assert.equal(answers.length, count, stdout)
    return answers
  }

  const negotiated = (name: string, session: string, count = 1) =>
    curl('negotiate', {
      session,
      count,
      args: ['--negotiate', '-u', ':'],
      env: { NTLM_USER_FILE: apache.userFile(name) },
    })

  const ntlm = (name: keyof typeof accounts, application: string, more: Partial<Curl> = {}) =>
    curl(application, { ...more, args: ['--ntlm', '-u', `CORP\\${name}:${accounts[name]}`] })

  test('a person signs in to Apache by NTLM within Negotiate, once for a connection', async () => {
    const answers = await negotiated('ana', 'ana', 4)
    assert.deepEqual(
      answers.map(({ status, user }) => [status, user]),
      Array.from({ length: 4 }, () => [200, 'CORP\\ana']),
    )
    assert.deepEqual(
      answers.map(({ connects }) => connects),
      [1, 0, 0, 0],
    )
  })

  test('a person signs in by NTLM to a server that asks as IIS does', async () => {
    const answers = await ntlm('ben', 'ntlm', { session: 'ben', count: 3 })
    assert.deepEqual(
      answers.map(({ status, body }) => [status, body!.replace(/<p>.*/, '')]),
      Array.from({ length: 3 }, () => [200, '<h1>Hello ben</h1>']),
    )
    assert.equal(new Set(answers.map(({ body }) => body)).size, 1, 'all by one connection')
  })

  test('a wrong password is for the origin to refuse', async () => {
    const [answer] = await curl('ntlm', {
      session: 'ana',
      args: ['--ntlm', '-u', 'CORP\\ana:wrong'],
    })
    assert.equal(answer!.status, 401)
  })

  test('many people at once stay who they are, and who has not signed in is nobody', async () => {
    const rounds = Array.from({ length: 6 }, (_, index) => names[index % 2]!)
    const asked = await Promise.all(
      rounds.flatMap((name) => [
        negotiated(name, name, 3).then((answers) => {
          for (const { status, user } of answers)
            assert.deepEqual([status, user], [200, `CORP\\${name}`])
        }),
        ntlm(name, 'ntlm', { session: name, count: 3 }).then((answers) => {
          for (const { status, body } of answers)
            assert.deepEqual([status, body!.replace(/<p>.*/, '')], [200, `<h1>Hello ${name}</h1>`])
        }),
        // Signed in to the service, and not to the application.
        ...['negotiate', 'ntlm'].map((application) =>
          curl(application, { session: name, args: [], count: 5 }).then((answers) => {
            for (const { status, user } of answers) assert.deepEqual([status, user], [401, ''])
          }),
        ),
      ]),
    )
    assert.equal(asked.length, 24)
  })

  test('a session has no part in what another one has signed in to over the same connection of a client', async (t) => {
    const host = system.host('ntlm')
    const agent = new Agent({
      keepAlive: true,
      maxSockets: 1,
      ca: system.ca,
      host: '127.0.0.1',
      port: system.port,
      servername: host,
    })
    t.after(() => agent.destroy())
    let first = true
    const ask = async (session: string, authorization?: string) => {
      const outgoing = request({
        agent,
        host: '127.0.0.1',
        port: system.port,
        headers: {
          host: `${host}:${system.port}`,
          cookie: people.get(session)!.cookieHeader(host),
          ...(authorization === undefined ? {} : { authorization }),
        },
      }).end()
      const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
      assert.equal(outgoing.reusedSocket, !first, 'one connection')
      first = false
      let body = ''
      for await (const chunk of incoming) body += chunk
      return {
        challenge: incoming.headers['www-authenticate'] ?? '',
        body: body.replace(/<p>.*/, ''),
      }
    }
    const signIn = async (name: keyof typeof accounts) => {
      const { challenge } = await ask(name, negotiate)
      return (await ask(name, answerChallenge(challenge, name, accounts[name]))).body
    }
    assert.equal(await signIn('ana'), '<h1>Hello ana</h1>')
    assert.equal((await ask('ana')).body, '<h1>Hello ana</h1>')
    assert.deepEqual(await ask('ben'), { challenge: 'NTLM', body: '' })
    assert.equal(await signIn('ben'), '<h1>Hello ben</h1>')
    assert.equal((await ask('ana')).body, '<h1>Hello ana</h1>')
    assert.equal((await ask('ben')).body, '<h1>Hello ben</h1>')
  })

  test('without the setting nobody stays signed in, and nobody is taken for another', async () => {
    const [answer] = await curl('shared', {
      session: 'ana',
      args: ['--negotiate', '-u', ':'],
      env: { NTLM_USER_FILE: apache.userFile('ana') },
    })
    assert.equal(answer!.status, 401)
  })

  test('an application without sign-in works as well, but not over a connection that a proxy may share', async () => {
    const [answer] = await ntlm('ana', 'open')
    assert.equal(answer!.status, 200)
    const host = `${system.host('open')}:${system.port}`
    const { stdout } = await run('curl', [
      ...['-s', '-o', '/dev/null', '-w', '%{http_code}', '-H', `Host: ${host}`],
      ...['--ntlm', '-u', `CORP\\ana:${accounts.ana}`, `http://127.0.0.1:${system.plainPort}/`],
    ])
    assert.equal(stdout, '401')
  })

  test('the connection to the origin is closed with that of the client', async () => {
    const before = origin.signIns.length
    await ntlm('ana', 'ntlm', { session: 'ana' })
    assert.ok(origin.signIns.length > before)
    // None is left, of those before neither.
    while (origin.closed.length < origin.signIns.length)
      await new Promise((resolve) => setTimeout(resolve, 5))
  })

  test('in a browser a person signs in to the service, then to the application, and moves about', async (t) => {
    const browser = await launchBrowser(t, { domain: system.domain })
    const context = await newProfile(t, browser, {
      httpCredentials: { username: 'CORP\\ana', password: accounts.ana },
    })
    const page = await context.newPage()
    await page.goto(system.url('ntlm'))
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Hello ana' }).waitFor()
    for (const path of ['/a', '/b?c=d', '/']) {
      await page.goto(system.url('ntlm', path))
      await page.getByRole('heading', { name: 'Hello ana' }).waitFor()
    }
    // What the session of the service gave ends with it, though the browser keeps its connection.
    await page.goto(system.url('apps'))
    const before = origin.closed.length
    await page.getByRole('link', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    while (origin.closed.length <= before) await new Promise((resolve) => setTimeout(resolve, 5))
  })
})
