import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, suite, test } from 'node:test'
import { connectTls, lastFirst, type System, startSystem } from '@sallyport/testkit'
import { pino } from 'pino'
import {
  type CertificateFiles,
  startTlsOrigins,
  TestCertificates,
  type TlsOrigins,
} from './support/tls-origins.ts'

/** Real servers that ask their clients for a certificate, published with one and without. */
suite('origins that ask for a certificate of the connector', () => {
  let close: () => Promise<void>
  let system: System
  let origins: TlsOrigins
  let certificates: TestCertificates
  let clients: CertificateFiles
  /** Each line that service and connector log. */
  const said = new EventEmitter()
  const webSocketClients: (string | undefined)[] = []
  const ids = {
    apache: randomUUID(),
    unset: randomUUID(),
    foreign: randomUUID(),
    paths: randomUUID(),
    modern: randomUUID(),
    nginx: randomUUID(),
    bare: randomUUID(),
  }

  before(async () => {
    const scope = lastFirst({
      after: (run) => {
        close = async () => run()
      },
    })
    const webSockets = createServer()
    webSockets.on('upgrade', (request, socket) => {
      webSocketClients.push(request.headers['x-client'] as string | undefined)
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
      )
      socket.pipe(socket)
      socket.on('error', () => socket.destroy())
    })
    webSockets.listen(0, '127.0.0.1')
    await once(webSockets, 'listening')
    scope.after(() => {
      webSockets.closeAllConnections()
      webSockets.close()
    })
    certificates = new TestCertificates(scope)
    clients = certificates.selfSigned('clients', 'Clients')
    const strangers = certificates.selfSigned('strangers', 'Strangers')
    const { port } = webSockets.address() as AddressInfo
    origins = await startTlsOrigins(scope, certificates, clients, port)
    const at = (port: number) => `https://${origins.host}:${port}/`
    const { requirePort, pathsPort, nginxPort } = origins
    const internalUrls: Record<keyof typeof ids, string> = {
      apache: at(requirePort),
      unset: at(requirePort),
      foreign: at(requirePort),
      paths: at(pathsPort),
      modern: at(pathsPort),
      nginx: at(nginxPort),
      bare: at(nginxPort),
    }
    system = await startSystem(scope, {
      log: pino({ level: 'info' }, { write: (line) => void said.emit('line', line) }),
      connectors: 0,
      applications: Object.entries(ids).map(([name, id]) => ({
        name,
        internalUrl: internalUrls[name as keyof typeof ids],
        set: { id },
      })),
    })
    const edge = certificates.issue(clients, 'edge', 'edge-1')
    const stranger = certificates.issue(strangers, 'stranger', 'stranger')
    await system.startConnector({
      name: 'edge',
      allow: [requirePort, pathsPort, nginxPort].map((port) => `127.0.0.1:${port}`),
      addresses: { [origins.host]: '127.0.0.1' },
      originCa: origins.authority,
      originClientCertificates: [
        {
          applications: [ids.apache],
          origins: [`${origins.host}:${requirePort}`],
          ...edge,
        },
        { applications: [ids.foreign], origins: ['*.internal'], ...stranger },
        {
          applications: [ids.paths],
          origins: [`*.internal:${pathsPort}`],
          ...edge,
          maxTlsVersion: '1.2',
        },
        { applications: [ids.modern, ids.nginx], origins: ['*.internal'], ...edge },
      ],
    })
  })
  after(() => close())

  /** Status, whom the server saw, and what the page says of the failure. */
  async function ask(name: string, path = '/') {
    const ana = await system.signIn('ana')
    const answer = await ana.open(system.url(name, path))
    return { status: answer.status, client: answer.headers['x-client'], body: answer.body }
  }

  /** The detail of the last request, for administrators. */
  const detail = () => system.records.at(-1)!.detail ?? ''

  test('Apache and nginx see the certificate of the application, over TLS 1.3', async () => {
    assert.deepEqual(await ask('apache'), {
      status: 200,
      client: 'edge-1 by TLSv1.3',
      body: 'public\n',
    })
    assert.deepEqual(await ask('nginx'), {
      status: 200,
      client: 'CN=edge-1 by TLSv1.3',
      body: 'nginx\n',
    })
  })

  test('another application at the same host and port has no part in it', async () => {
    for (let round = 0; round < 2; round += 1) {
      assert.equal((await ask('apache')).status, 200)
      const { status, body } = await ask('unset')
      assert.equal(status, 502)
      assert.match(body, /ORIGIN_CLIENT_CERTIFICATE/)
      assert.match(body, /The application turned the connection down/)
      assert.doesNotMatch(body, /edge-1|app\.internal|alert/)
      assert.match(detail(), /^ORIGIN_CLIENT_CERTIFICATE_REQUIRED: .*alert "certificate required"/)
      // nginx takes the connection, and says no with a page of its own.
      assert.equal((await ask('nginx')).status, 200)
      const bare = await ask('bare')
      assert.equal(bare.status, 400)
      assert.match(bare.body, /No required SSL certificate was sent/)
    }
  })

  test('a certificate that the origin does not take is named to administrators, and not to people', async () => {
    const { status, body } = await ask('foreign')
    assert.equal(status, 502)
    assert.match(body, /ORIGIN_CLIENT_CERTIFICATE/)
    assert.doesNotMatch(body, /stranger|alert/)
    assert.match(detail(), /^ORIGIN_CLIENT_CERTIFICATE_REFUSED: .*CN=stranger.*alert "unknown ca"/)
  })

  test('an origin that asks at some paths only gets it there by TLS 1.2, and cannot ask for it by TLS 1.3', async () => {
    assert.deepEqual(await ask('paths'), { status: 200, client: 'by TLSv1.2', body: 'public\n' })
    assert.deepEqual(await ask('paths', '/private/'), {
      status: 200,
      client: 'edge-1 by TLSv1.2',
      body: 'private\n',
    })
    // It asks when the request has come, body and all.
    const ana = await system.signIn('ana')
    await ana.open(system.url('paths'))
    const url = system.url('paths', '/private/')
    const posted = await ana.fetch(url, { method: 'POST', body: 'x'.repeat(20_000) })
    assert.equal(posted.headers['x-client'], 'edge-1 by TLSv1.2')
    assert.equal((await ask('modern')).status, 200)
    assert.equal((await ask('modern', '/private/')).status, 403)
  })

  test('a WebSocket is opened with it', async (t) => {
    const ana = await system.signIn('ana', 'nginx')
    const socket = await connectTls({
      port: system.port,
      ca: system.ca,
      host: system.host('nginx'),
    })
    t.after(() => socket.destroy())
    socket.write(
      [
        'GET /ws HTTP/1.1',
        `Host: ${system.host('nginx')}:${system.port}`,
        `Origin: ${system.url('nginx').slice(0, -1)}`,
        `Cookie: ${ana.cookieHeader(system.host('nginx'))}`,
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        '\r\n',
      ].join('\r\n'),
    )
    const [head] = (await once(socket, 'data')) as [Buffer]
    assert.match(head.toString(), /^HTTP\/1\.1 101 /)
    assert.deepEqual(webSocketClients, ['CN=edge-1'])
    socket.write('echo')
    const [echoed] = (await once(socket, 'data')) as [Buffer]
    assert.equal(echoed.toString(), 'echo')
  })

  test('a certificate that is renewed in its file is in force for the next request', async () => {
    const status = () => system.connectors[0]!.status().originClientCertificates
    assert.deepEqual(
      status().map(({ subject, problem }) => [subject, problem?.code]),
      [
        ['CN=edge-1', undefined],
        ['CN=stranger', undefined],
        ['CN=edge-1', undefined],
        ['CN=edge-1', undefined],
      ],
    )
    assert.equal((await ask('apache')).client, 'edge-1 by TLSv1.3')
    certificates.issue(clients, 'edge', 'edge-2')
    while (status()[0]!.subject !== 'CN=edge-2') await once(said, 'line')
    assert.equal((await ask('apache')).client, 'edge-2 by TLSv1.3')
  })
})
