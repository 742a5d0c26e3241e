import assert from 'node:assert/strict'
import { cpSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { enroll, parseAllowRules, startConnector } from '@sallyport/connector'
import { ResetCode, type StreamHandler, type TunnelError, TunnelSession } from '@sallyport/protocol'
import { type Client, Origin, type System, startSystem } from '@sallyport/testkit'
import { pino } from 'pino'

suite('attacks on tunnels and connectors', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = { after: (close: () => Promise<void> | void) => void closers.push(close) }
  let system: System
  let ana: Client

  before(async () => {
    system = await startSystem(scope, { applications: [{ name: 'app' }] })
    ana = await system.signIn('ana', 'app')
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const toLoopback = async () => ['127.0.0.1']
  const service = () => new URL(system.url('connect').slice(0, -1))
  const newToken = async (connectorGroup = 'default') =>
    (
      (await system.execute('token.create', { connectorGroup, lifetimeMs: 600_000 })) as {
        token: string
      }
    ).token
  const stateDir = (name: string) => join(system.dir, name)
  const enrolAs = (name: string, token: string) =>
    enroll({
      service: service(),
      token,
      stateDir: stateDir(name),
      name,
      allow: [],
      resolve: toLoopback,
    })

  test('attack 50: a token is good once, for one group, for a while, and its replay is recorded', async () => {
    const token = await newToken()
    const raced = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) => enrolAs(`race-${index}`, token)),
    )
    assert.equal(raced.filter(({ status }) => status === 'fulfilled').length, 1)
    await assert.rejects(enrolAs('replay', token))
    const audit = JSON.stringify(await system.service.control.execute('audit.list', {}, 'test'))
    assert.match(audit, /enrolment-token-replayed/)
    assert.ok(!audit.includes(token.split('.')[1]!), 'the token itself is nowhere')
    for (const wrong of [
      token.replace(/^sp1\.[^.]+/, `sp1.${Buffer.alloc(32, 1).toString('base64url')}`),
      'sp1.x.y',
      '',
    ])
      await assert.rejects(enrolAs('wrong', wrong))
    // The right secret with another authority's fingerprint: the connector does not even send it.
    const [, secret] = (await newToken()).split('.')
    await assert.rejects(
      enrolAs('pinned', `sp1.${secret}.${Buffer.alloc(32, 1).toString('base64url')}`),
      { code: /CA|PIN|FINGERPRINT|INTERCEPT|TRUST/ },
    )
  })

  test('attack 50: what a connector and a service keep is for their own eyes', () => {
    for (const dir of [stateDir('connector-1'), join(system.dir, 'service')]) {
      assert.equal(statSync(dir).mode & 0o077, 0, dir)
      for (const name of readdirSync(dir))
        if (!/^(web-)?ca\.pem$|^connector\.pem$/.test(name))
          assert.equal(statSync(join(dir, name)).mode & 0o077, 0, name)
    }
  })

  test('attack 51: a connector serves its own group only', async () => {
    await system.execute('connector-group.create', { name: 'other' })
    const rogue = await system.startConnector({ name: 'rogue', allow: [], connectorGroup: 'other' })
    for (let round = 0; round < 20; round += 1)
      assert.equal((await ana.get(system.url('app'))).status, 200)
    assert.equal(rogue.status().exchanges.started, 0)
  })

  test('attack 51: a fallen gateway reaches nothing through a connector but what its own list allows', async () => {
    const secret = await Origin.start()
    closers.push(() => secret.close())
    const tunnel = system.service.gateway.tunnels.pick('default')!
    const ask = (url: string, head = 'GET / HTTP/1.1\r\nHost: x') => {
      const json = Buffer.from(
        JSON.stringify({ v: 1, app: 'x', url, validate: true, timeoutMs: 2_000 }),
      )
      return new Promise<TunnelError | 'answered'>((resolve) => {
        const handler: StreamHandler = {
          onHead: () => resolve('answered'),
          onData: () => undefined,
          onEnd: () => undefined,
          onWritable: () => undefined,
          onReset: resolve,
        }
        const stream = tunnel.session.openStream(`\u0002id${json.toString('latin1')}`, handler)
        stream.sendHead(head, true)
      })
    }
    for (const url of [
      secret.url.slice(0, -1),
      `http://localhost:${secret.port}`,
      `http://2130706433:${secret.port}`,
      `http://0x7f000001:${secret.port}`,
      `http://0177.0.0.1:${secret.port}`,
      `http://127.1:${secret.port}`,
      `http://[::1]:${secret.port}`,
      `http://[::ffff:127.0.0.1]:${secret.port}`,
      `http://[64:ff9b::7f00:1]:${secret.port}`,
      `http://0.0.0.0:${secret.port}`,
      'http://169.254.169.254:80',
      'http://[fd00:ec2::254]:80',
      'http://224.0.0.1:80',
      `https://127.0.0.1:${secret.port}`,
      'file:///etc/passwd',
      'gopher://127.0.0.1:25',
      `http://user@127.0.0.1:${secret.port}`,
      'http://',
      '',
    ]) {
      const answer = await ask(url)
      assert.notEqual(answer, 'answered', url)
      const { resetCode } = answer as TunnelError
      assert.ok(
        resetCode === ResetCode.DESTINATION_FORBIDDEN ||
          resetCode === ResetCode.PROTOCOL_ERROR ||
          resetCode === ResetCode.NAME_NOT_RESOLVED,
        `${url}: ${resetCode}`,
      )
    }
    assert.deepEqual(secret.requests, [])
    // A redirect is the client's to follow, never the connector's.
    system.origin('app').handler = (_, response) =>
      response.writeHead(302, { location: `${secret.url}admin` }).end()
    const moved = await ana.get(system.url('app'))
    system.origin('app').handler = undefined
    assert.equal(moved.status, 302)
    assert.deepEqual(secret.requests, [])
  })

  async function dialTunnel(options: {
    key?: string
    cert?: string
    ca?: string
  }): Promise<string> {
    return new Promise((resolve) => {
      const socket: TLSSocket = connect({
        host: '127.0.0.1',
        port: system.port,
        servername: system.host('connect'),
        ALPNProtocols: ['sallyport-tunnel/1'],
        ca: options.ca ?? system.service.control.connectorCa.certificatePem,
        ...(options.key ? { key: options.key } : {}),
        ...(options.cert ? { cert: options.cert } : {}),
      })
      let session: TunnelSession | undefined
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
      socket.on('close', () => resolve('closed'))
      socket.on('secureConnect', () => {
        session = new TunnelSession(socket, {
          side: 'connector',
          onClose: (error) => resolve(`closed: ${error?.message}`),
        })
        const { gateway } = system.service
        const count = gateway.tunnels.all().length
        const poll = () => {
          if (socket.destroyed) return
          if (gateway.tunnels.all().length > count) {
            resolve('accepted')
            session?.close()
          } else setImmediate(poll)
        }
        poll()
      })
    })
  }

  test('attack 52: a tunnel needs a certificate of ours that is in force', async () => {
    const dir = stateDir('connector-1')
    const key = readFileSync(join(dir, 'connector.key'), 'utf8')
    const cert = readFileSync(join(dir, 'connector.pem'), 'utf8')
    assert.notEqual(await dialTunnel({}), 'accepted')
    // A server certificate of the web authority is no connector.
    const web = system.service.control.serverContext(system.host('app'))!
    assert.notEqual(
      await dialTunnel({ key: web.key as string, cert: web.cert as string }),
      'accepted',
    )
    // The service is known by its own authority only, not by the one that browsers trust.
    assert.match(
      await dialTunnel({ key, cert, ca: system.ca }),
      /SELF_SIGNED|UNABLE_TO_|LEAF|ISSUER|CERT/,
    )
    assert.equal(await dialTunnel({ key, cert }), 'accepted')
  })

  test('attack 52: a revoked connector is cut within two seconds and stays out', async () => {
    const gone = await system.startConnector({ name: 'gone', allow: [] })
    const { connectorId } = gone.status()
    const own = () =>
      system.service.gateway.tunnels.all().filter((tunnel) => tunnel.connectorId === connectorId)
        .length
    assert.equal(own(), 2)
    const startedAt = performance.now()
    await system.execute('connector.revoke', { connector: connectorId })
    while (own() > 0) await new Promise((resolve) => setImmediate(resolve))
    assert.ok(performance.now() - startedAt < 2_000)
    await gone.close()
    const dir = stateDir('gone')
    assert.notEqual(
      await dialTunnel({
        key: readFileSync(join(dir, 'connector.key'), 'utf8'),
        cert: readFileSync(join(dir, 'connector.pem'), 'utf8'),
      }),
      'accepted',
    )
  })

  test('attack 52: a connector dials nobody but the service that it pinned', async () => {
    const copy = stateDir('copied')
    cpSync(stateDir('connector-1'), copy, {
      recursive: true,
      filter: (file) => !file.endsWith('.sock') && !file.endsWith('.lock'),
    })
    // The web authority has a certificate for connect., but it is not the one that was pinned.
    const { createServer } = await import('node:tls')
    const { cert, key } =
      system.service.control.serverContext(system.host('connect')) ??
      system.service.control.serverContext(system.host('app'))!
    let accepted = false
    const impostor = createServer({ cert, key, ALPNProtocols: ['sallyport-tunnel/1'] }, () => {
      accepted = true
    })
    await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve))
    const { port } = impostor.address() as { port: number }
    impostor.on('tlsClientError', () => undefined)
    let problem = ''
    const failed = new Promise<void>((resolve) => {
      void startConnector({
        stateDir: copy,
        service: new URL(`https://${system.host('connect')}:${port}`),
        allow: parseAllowRules([]),
        resolve: toLoopback,
        log: pino({ level: 'silent' }),
        onStateChange: ({ tunnels }) => {
          problem = tunnels[0]?.lastError?.code ?? problem
          if (problem) resolve()
        },
      }).then((connector) => closers.push(() => connector.close()))
    })
    await failed
    assert.match(problem, /CA|PIN|INTERCEPT|TRUST|CERTIFICATE|TLS/)
    assert.equal(accepted, false)
    impostor.close()
  })

  test('attack 53: whatever a connector sends, the gateway lives and others are served', async () => {
    const dir = stateDir('connector-1')
    const key = readFileSync(join(dir, 'connector.key'), 'utf8')
    const cert = readFileSync(join(dir, 'connector.pem'), 'utf8')
    let seed = 53
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff
      return seed
    }
    for (let round = 0; round < 50; round += 1) {
      const socket = connect({
        host: '127.0.0.1',
        port: system.port,
        servername: system.host('connect'),
        ALPNProtocols: ['sallyport-tunnel/1'],
        ca: system.service.control.connectorCa.certificatePem,
        key,
        cert,
      })
      socket.on('error', () => socket.destroy())
      await new Promise<void>((resolve) => {
        socket.on('close', () => resolve())
        socket.on('secureConnect', () => {
          const bytes = Buffer.alloc(random() % 4_096)
          for (let at = 0; at < bytes.length; at += 1) bytes[at] = random() >> 8
          socket.end(bytes)
        })
        socket.resume()
      })
    }
    assert.equal((await ana.get(system.url('app'))).status, 200)
  })
})
