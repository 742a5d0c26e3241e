import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { after, before, suite, test } from 'node:test'
import { connect as connectSecurely, type TLSSocket } from 'node:tls'
import { connectTls, lastFirst, type System, startSystem } from '@sallyport/testkit'

// What an attacker without an account can make the service hold, and for how long.
suite('attacks on memory and patience', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System

  before(async () => {
    system = await startSystem(scope, { applications: [{ name: 'app' }] })
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const secondsUntilClosed = (socket: Socket | TLSSocket, sentAt: number) =>
    new Promise<number>((resolve) => {
      socket.resume()
      socket.on('error', () => socket.destroy())
      socket.on('close', () => resolve((performance.now() - sentAt) / 1_000))
    })

  /** What a browser sends first, without the rest of the handshake. */
  function captureHello(serverName: string, protocol: string): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const server = createServer((socket) =>
        socket.once('data', (hello) => {
          socket.destroy()
          server.close()
          resolve(hello)
        }),
      )
      server.listen(0, '127.0.0.1', () => {
        const { port } = server.address() as { port: number }
        connectSecurely({
          host: '127.0.0.1',
          port,
          servername: serverName,
          ALPNProtocols: [protocol],
        }).on('error', (error: NodeJS.ErrnoException) => {
          if (error.code !== 'ECONNRESET') reject(error)
        })
      })
    })
  }

  test('attack 31: nobody who has not signed in keeps a connection by saying nothing, or little', async () => {
    const authority = system.service.control.connectorCa.certificatePem
    const waiting: Promise<void>[] = []
    const expect = (label: string, socket: Socket | TLSSocket, first: string | Buffer) => {
      if (first.length > 0) socket.write(first)
      const closed = secondsUntilClosed(socket, performance.now()).then((seconds) =>
        assert.ok(seconds < 30, `${label} stayed for ${seconds} s`),
      )
      waiting.push(closed)
    }
    const plain = () => connect(system.port, '127.0.0.1')
    expect('a silent connection', plain(), '')
    for (const [name, protocol] of [
      ['app', 'http/1.1'],
      ['login', 'http/1.1'],
      ['admin', 'http/1.1'],
      ['connect', 'sallyport-enroll/1'],
      ['connect', 'sallyport-tunnel/1'],
    ] as const) {
      const hello = await captureHello(system.host(name), protocol)
      expect(`half a ClientHello for ${name}`, plain(), hello.subarray(0, hello.length / 2))
      expect(`half a handshake with ${name} ${protocol}`, plain(), hello)
    }
    for (const [name, alpn] of [
      ['login', 'http/1.1'],
      ['admin', 'http/1.1'],
      ['connect', 'sallyport-enroll/1'],
    ] as const) {
      const open = () =>
        connectTls({
          port: system.port,
          ca: alpn === 'http/1.1' ? system.ca : authority,
          host: system.host(name),
          alpn: [alpn],
        })
      expect(`an idle connection to ${name}`, await open(), '')
      expect(`half a head for ${name}`, await open(), 'POST /v1/enroll HTTP/1.1\r\nHost: x\r\n')
    }
    expect(
      'half a head for an application',
      await connectTls({ port: system.port, ca: system.ca, host: system.host('app') }),
      'GET / HTTP/1.1\r\nHost: x\r\n',
    )
    const body = (type: string) => `Content-Type: ${type}\r\nContent-Length: 100\r\n\r\n{`
    expect(
      'half a body for enrolment',
      await connectTls({
        port: system.port,
        ca: authority,
        host: system.host('connect'),
        alpn: ['sallyport-enroll/1'],
      }),
      `POST /v1/enroll HTTP/1.1\r\nHost: x\r\n${body('application/json')}`,
    )
    expect(
      'half a body for the token endpoint',
      await connectTls({ port: system.port, ca: system.ca, host: system.host('login') }),
      `POST /common/oauth2/v2.0/token HTTP/1.1\r\nHost: ${system.host('login')}:${system.port}\r\n${body('application/x-www-form-urlencoded')}`,
    )
    await Promise.all(waiting)
  })
})
