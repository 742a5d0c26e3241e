import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { FieldList } from '../../src/index.ts'
import type { ReadRequest } from './drive.ts'
import type { OracleRequests } from './oracles.ts'

const NGINX = '/usr/sbin/nginx'

// Unix sockets, so that no port can be taken; the workers of root must stay root to reach them. Everything that nginx
// would tidy up silently is switched off.
const configuration = (folder: string) => `
${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${folder}/pid;
error_log ${folder}/error.log crit;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  ignore_invalid_headers off;
  underscores_in_headers on;
  merge_slashes off;
  lingering_close off;
  client_header_timeout 1s;
  client_body_timeout 1s;
  keepalive_timeout 2s;
  large_client_header_buffers 8 64k;
  client_max_body_size 0;
  proxy_ignore_client_abort on;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_read_timeout 1s;
  proxy_next_upstream off;
  server {
    listen unix:${folder}/requests.sock;
    location / { proxy_pass http://unix:${folder}/origin.sock:; }
  }
  server {
    listen unix:${folder}/responses.sock;
    location / { proxy_pass http://unix:${folder}/raw.sock:; }
  }
}
`

/** A real nginx as a reverse proxy: what it forwards shows what it has read. Requests must be given one at a time. */
export class NginxOracle {
  readonly #folder: string
  readonly #process: ChildProcess
  readonly #origin: net.Server
  readonly #raw: net.Server
  #requests: ReadRequest[] = []
  #onSentinel: () => void = () => undefined
  #response: { text: string; end: boolean } = { text: '', end: false }

  static async start(): Promise<NginxOracle> {
    const oracle = new NginxOracle()
    await oracle.#ready()
    return oracle
  }

  private constructor() {
    this.#folder = mkdtempSync(path.join(tmpdir(), 'http1-nginx-'))
    const file = path.join(this.#folder, 'nginx.conf')
    writeFileSync(file, configuration(this.#folder))
    this.#origin = net.createServer((socket) => this.#serveOrigin(socket))
    this.#origin.listen(path.join(this.#folder, 'origin.sock'))
    this.#raw = net.createServer((socket) => this.#serveRaw(socket))
    this.#raw.listen(path.join(this.#folder, 'raw.sock'))
    this.#process = spawn(NGINX, ['-p', this.#folder, '-e', 'stderr', '-c', file], {
      stdio: 'ignore',
    })
  }

  async #ready(): Promise<void> {
    const failed = once(this.#process, 'error').then(([error]) => {
      throw error
    })
    const tried = (async () => {
      for (;;) {
        const socket = net.connect(path.join(this.#folder, 'requests.sock'))
        const connected = await Promise.race([
          once(socket, 'connect').then(() => true),
          once(socket, 'error').then(() => false),
        ]).catch(() => false)
        socket.destroy()
        if (connected) return
        if (this.#process.exitCode !== null) throw new Error('nginx has ended')
        await delay(20)
      }
    })()
    await Promise.race([tried, failed])
  }

  async close(): Promise<void> {
    this.#process.kill()
    if (this.#process.exitCode === null) await once(this.#process, 'exit')
    this.#origin.close()
    this.#raw.close()
    rmSync(this.#folder, { recursive: true })
  }

  // What nginx sends is well-formed, one request to a connection.
  #serveOrigin(socket: net.Socket): void {
    let text = ''
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      const headEnd = text.indexOf('\r\n\r\n')
      if (headEnd === -1) return
      const [line = '', ...lines] = text.slice(0, headEnd).split('\r\n')
      const fields = lines.flatMap((each) => {
        const colon = each.indexOf(': ')
        return [each.slice(0, colon), each.slice(colon + 2)]
      })
      const length = fields.indexOf('Content-Length')
      const body = text.slice(headEnd + 4)
      if (length !== -1 && body.length < Number(fields[length + 1])) return
      const [method = '', target = '', version = ''] = line.split(' ')
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
      if (target === '/sentinel') {
        this.#onSentinel()
        return
      }
      const versionMinor = version === 'HTTP/1.1' ? 1 : 0
      this.#requests.push({ method, target, versionMinor, fields, body, trailers: [] })
    })
  }

  #serveRaw(socket: net.Socket): void {
    const { text, end } = this.#response
    socket.on('error', () => undefined)
    socket.once('data', () => {
      socket.write(text, 'latin1')
      if (end) socket.end()
    })
  }

  /** What nginx makes of requests; `stuck` when it neither reaches the sentinel nor closes within its timeouts. */
  async readRequests(text: string): Promise<OracleRequests> {
    this.#requests = []
    const socket = net.connect(path.join(this.#folder, 'requests.sock'))
    let answers = ''
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      answers += chunk.toString('latin1')
    })
    socket.write(text, 'latin1')
    const outcome = await new Promise<OracleRequests['outcome']>((resolve) => {
      this.#onSentinel = () => resolve('done')
      socket.on('close', () => resolve(/^HTTP\/1.1 [45]/m.test(answers) ? 'refused' : 'done'))
    })
    socket.destroy()
    return { requests: this.#requests, outcome }
  }

  /** What nginx passes on when its origin answers so. */
  async forwardResponse(method: string, text: string, end: boolean): Promise<string> {
    this.#response = { text, end }
    const socket = net.connect(path.join(this.#folder, 'responses.sock'))
    socket.on('error', () => undefined)
    let forwarded = ''
    socket.on('data', (chunk) => {
      forwarded += chunk.toString('latin1')
    })
    socket.write(`${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    await once(socket, 'close')
    return forwarded
  }
}

const setByNginx =
  /^(?:host|connection|content-length|transfer-encoding|te|keep-alive|expect|upgrade)$/i

/** The fields that nginx passes on as they are. It takes only spaces for optional whitespace, not tabs. */
export function passedOn(fields: FieldList, names = /./): FieldList {
  const result: FieldList = []
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    if (!setByNginx.test(name) && names.test(name)) result.push(name, fields[index + 1]!.trim())
  }
  return result
}
