import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'

export interface ProxyRequest {
  /** Head without the final empty line. */
  head: string
  target: string
}

export interface TestProxy {
  url: URL
  requests: ProxyRequest[]
}

export interface ProxyBehaviour {
  /** `user:password` that is asked for. */
  credentials?: string
  /** Sent instead of connecting; undefined: connect. */
  answer?: (request: ProxyRequest) => string | undefined
}

/** An HTTP proxy that knows CONNECT. */
export async function startProxy(
  t: TestContext,
  behaviour: ProxyBehaviour = {},
): Promise<TestProxy> {
  const requests: ProxyRequest[] = []
  const open = new Set<Socket>()
  const track = (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
  }
  const server = createServer((client) => {
    track(client)
    let received = ''
    const onData = (chunk: Buffer) => {
      received += chunk.toString('latin1')
      const end = received.indexOf('\r\n\r\n')
      if (end < 0) return
      client.removeListener('data', onData)
      client.pause()
      const head = received.slice(0, end)
      const target = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head)?.[1] ?? ''
      const request = { head, target }
      requests.push(request)
      const wanted = behaviour.credentials
      const given = /\r\nProxy-Authorization: Basic (\S+)/.exec(head)?.[1] ?? ''
      if (wanted !== undefined && Buffer.from(given, 'base64').toString('utf8') !== wanted)
        return void client.end(
          'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n',
        )
      const answer = behaviour.answer?.(request)
      if (answer !== undefined) return void client.end(answer)
      const [, host = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(target) ?? []
      const upstream = connect(Number(port), host, () => {
        client.write('HTTP/1.1 200 Connection established\r\nX-Proxy: test\r\n\r\n')
        client.pipe(upstream)
        upstream.pipe(client)
      })
      track(upstream)
      upstream.once('close', () => client.destroy())
      client.once('close', () => upstream.destroy())
      return undefined
    }
    client.on('data', onData)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: new URL(`http://127.0.0.1:${port}`), requests }
}

/** A proxy port that says whatever the test wants, or nothing. */
export async function startRawProxy(
  t: TestContext,
  onConnection: (socket: Socket) => void,
): Promise<URL> {
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

/** Squid, with Basic authentication against a file. */
export async function startSquid(t: TestContext, user: string, password: string): Promise<URL> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-squid-'))
  const port = await freePort()
  const file = (name: string) => join(directory, name)
  const isRoot = process.getuid?.() === 0
  const hash = execFileSync('openssl', ['passwd', '-apr1', '-stdin'], { input: `${password}\n` })
  writeFileSync(file('passwords'), `${user}:${hash.toString().trim()}\n`)
  writeFileSync(
    file('squid.conf'),
    [
      `http_port 127.0.0.1:${port}`,
      `auth_param basic program /usr/lib/squid/basic_ncsa_auth ${file('passwords')}`,
      'auth_param basic children 1',
      'acl known proxy_auth REQUIRED',
      'http_access allow known',
      'http_access deny all',
      'cache deny all',
      `pid_filename ${file('squid.pid')}`,
      'access_log none',
      'cache_store_log none',
      `cache_log ${file('cache.log')}`,
      `coredump_dir ${directory}`,
      'shutdown_lifetime 0 seconds',
      'pinger_enable off',
      // Squid does not run as root.
      ...(isRoot ? ['cache_effective_user proxy'] : []),
      '',
    ].join('\n'),
  )
  if (isRoot) execFileSync('chown', ['-R', 'proxy', directory])
  const serviceName = `sallyport${port}`
  // Its shared memory is called after the service name; the default one would meet other squids.
  const squid = spawn(
    '/usr/sbin/squid',
    ['-N', '-n', serviceName, '-d', '1', '-f', file('squid.conf')],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const exited = once(squid, 'exit')
  t.after(async () => {
    squid.kill('SIGTERM')
    await exited
    // Squid leaves it behind when it ends with connections open.
    for (const part of ['metadata', 'queues', 'readers'])
      rmSync(`/dev/shm/${serviceName}-cf__${part}.shm`, { force: true })
    rmSync(directory, { recursive: true, force: true })
  })
  const said: string[] = []
  const lines = createInterface({ input: squid.stderr })
  await new Promise<void>((resolve, reject) => {
    lines.on('line', (line) => {
      said.push(line)
      if (line.includes('Accepting HTTP Socket connections')) resolve()
    })
    squid.once('exit', (code) => reject(new Error(`squid ended (${code}):\n${said.join('\n')}`)))
  })
  return new URL(`http://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}`)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
