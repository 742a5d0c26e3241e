import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createServer as createTlsServer } from 'node:tls'
import { TunnelSession } from '@sallyport/protocol'
import { writeState } from '../src/state.ts'
import { makeAuthority } from '../test/authority.ts'

/**
 * Small GETs through one connector process over real TLS tunnels: requests per second, and the
 * connector's own CPU per request.
 *
 *   node packages/connector/bench/exchanges.ts [requests] [parallel] [arguments of the connector's node, such as --cpu-prof]
 */
const requests = Number(process.argv[2] ?? 200_000)
const parallel = Number(process.argv[3] ?? 64)

if (process.argv[2] === 'connector') await runConnector(process.argv[3]!)
else await drive()

async function runConnector(stateDir: string): Promise<void> {
  const { startConnector } = await import('../src/index.ts')
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
  const connector = await startConnector({ stateDir, log, drainMs: 0 })
  let before = process.cpuUsage()
  process.on('SIGUSR2', () => {
    before = process.cpuUsage()
  })
  process.once('SIGTERM', async () => {
    const { user, system } = process.cpuUsage(before)
    await connector.close()
    process.stdout.write(`${JSON.stringify({ user, system, rss: process.memoryUsage.rss() })}\n`)
  })
}

async function drive(): Promise<void> {
  const stateDir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  const origin = createServer({ noDelay: true }, (socket) => {
    const answer = `HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 120\r\nCache-Control: no-cache\r\nETag: "abc"\r\nServer: bench\r\n\r\n${'x'.repeat(120)}`
    socket.on('data', () => socket.write(answer))
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(origin, 'listening')
  const { port: originPort } = origin.address() as { port: number }
  const ca = await makeAuthority('CA')
  const host = 'connect.bench.localhost'
  const leaf = await ca.issue({ dns: [host] })
  const sessions: TunnelSession[] = []
  let onTunnel = () => {}
  const service = createTlsServer(
    {
      key: leaf.keyPem,
      cert: leaf.certificatePem + ca.pem,
      ca: ca.pem,
      requestCert: true,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['sallyport-tunnel/1'],
    },
    (socket) => {
      const session: TunnelSession = new TunnelSession(socket, {
        side: 'gateway',
        onReady: () => {
          sessions.push(session)
          onTunnel()
        },
        onClose: () => {},
      })
    },
  ).listen(0, '127.0.0.1')
  await once(service, 'listening')
  const { port } = service.address() as { port: number }
  const issued = await ca.issue({ uri: 'spiffe://bench.localhost/connector/c1' })
  writeState(stateDir, {
    keyPem: issued.keyPem,
    certificatePem: issued.certificatePem,
    caPem: ca.pem,
    settings: {
      service: `https://${host}:${port}`,
      connectorId: 'c1',
      connectorGroup: 'default',
      name: 'bench',
      allow: [`127.0.0.1:${originPort}`],
    },
  })
  const child = spawn(
    process.execPath,
    [...process.argv.slice(4), import.meta.filename, 'connector', stateDir],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  while (sessions.length < 2)
    await new Promise<void>((resolve) => {
      onTunnel = resolve
    })
  const json = `${JSON.stringify({ v: 1, app: '7f3b6c1e-6d0f-4b53-9a3e-2f6b1f0a4c55', url: `http://127.0.0.1:${originPort}`, validate: true, timeoutMs: 85_000 })}`
  const head =
    'GET /index.html?x=1 HTTP/1.1\r\nHost: app.internal\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) bench\r\nAccept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, br\r\nAccept-Language: en\r\nCookie: a=1; b=2\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: app.example\r\nX-Forwarded-Proto: https'
  const run = (count: number) =>
    new Promise<void>((resolve, reject) => {
      let started = 0
      let ended = 0
      const next = () => {
        if (started === count) return
        const id = `bench-${started}`.padEnd(20, '-')
        const openText = String.fromCharCode(id.length) + id + json
        const session = sessions[started % sessions.length]!
        started += 1
        const stream = session.openStream(openText, {
          onHead: () => {},
          onData: () => {},
          onWritable: () => {},
          onEnd: () => {
            ended += 1
            if (ended === count) resolve()
            else next()
          },
          onReset: reject,
        })
        stream.sendHead(head, true)
      }
      for (let index = 0; index < parallel; index += 1) next()
    })
  await run(Math.min(20_000, requests))
  child.kill('SIGUSR2')
  const from = performance.now()
  await run(requests)
  const seconds = (performance.now() - from) / 1000
  const lines = createInterface({ input: child.stdout })
  child.kill('SIGTERM')
  const [line] = await once(lines, 'line')
  const { user, system, rss } = JSON.parse(line)
  // A profile is written at the end.
  if (child.exitCode === null) await once(child, 'exit')
  process.stdout.write(
    `${Math.round(requests / seconds)} requests/s; connector: ${((user + system) / requests).toFixed(1)} us CPU per request (user ${(user / requests).toFixed(1)}), ${Math.round(rss / 1e6)} MB\n`,
  )
  service.close()
  origin.close()
  rmSync(stateDir, { recursive: true, force: true })
  process.exit(0)
}
