import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { Apache, findFreePort, type Scope } from '@sallyport/testkit'

/** Passwords by user name, of the domain CORP. */
export type Accounts = Readonly<Record<string, string>>

/**
 * Apache with mod_auth_gssapi and gss-ntlmssp: people sign in by NTLM within Negotiate, and a connection that one has signed in
 * on is that person's. The header `X-Remote-User` says who the server believes to be served.
 *
 * @returns its port on 127.0.0.1, and the file by which `curl --negotiate` knows an account
 */
export async function startNtlmApache(
  scope: Scope,
  accounts: Accounts,
): Promise<{ port: number; userFile(userName: string): string }> {
  const apache = Apache.create(scope, 'ntlm', (dir) => ({ NTLM_USER_FILE: join(dir, 'users') }))
  const { dir } = apache
  const port = await findFreePort()
  const userFile = (userName: string) => join(dir, `user-${userName}`)
  const lines = Object.entries(accounts).map(([name, password]) => `CORP:${name}:${password}\n`)
  writeFileSync(join(dir, 'users'), lines.join(''))
  for (const [index, name] of Object.keys(accounts).entries())
    writeFileSync(userFile(name), lines[index]!)
  mkdirSync(join(dir, 'htdocs'))
  writeFileSync(join(dir, 'htdocs/index.txt'), 'Intranet\n')
  apache.configure({
    modules: ['authz_user', 'auth_gssapi', 'mime', 'dir', 'headers'],
    lines: `ServerName iwa.internal
Listen 127.0.0.1:${port}
AddType text/plain .txt
KeepAliveTimeout 60
DocumentRoot ${dir}/htdocs
DirectoryIndex index.txt
Header always set X-Remote-User "expr=%{REMOTE_USER}"
<Location />
AuthType GSSAPI
AuthName Intranet
GssapiSSLonly Off
GssapiAllowedMech ntlmssp
GssapiConnectionBound On
Require valid-user
</Location>`,
  })
  await apache.run()
  return { port, userFile }
}

/**
 * A server that people sign in to by NTLMv2, as IIS asks for it: the scheme `NTLM`, and a connection that one has signed in on is
 * that person's (MS-NLMP, MS-NTHT). Its page says who the person is, and by which connection.
 */
export class NtlmOrigin {
  readonly port: number
  /** Connections on which somebody has signed in, by who it was. */
  readonly signIns: string[] = []
  /** Connections that were closed after that. */
  readonly closed: string[] = []

  private constructor(port: number) {
    this.port = port
  }

  static async start(scope: Scope, accounts: Accounts): Promise<NtlmOrigin> {
    const connections = new WeakMap<
      Socket,
      { challenge?: Buffer; person?: string; number: number }
    >()
    let count = 0
    const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      const { socket } = request
      let state = connections.get(socket)
      if (!state) {
        count += 1
        state = { number: count }
        connections.set(socket, state)
      }
      const of = state
      const refuse = (challenge = '') => {
        response.writeHead(401, { 'WWW-Authenticate': `NTLM${challenge}`, 'Content-Length': '0' })
        response.end()
      }
      request.resume().on('end', () => {
        const { authorization } = request.headers
        if (authorization?.startsWith('NTLM ')) {
          const message = Buffer.from(authorization.slice(5), 'base64')
          if (message.readUInt32LE(8) === 1) {
            delete of.person
            of.challenge = randomBytes(8)
            return refuse(` ${toChallenge(of.challenge).toString('base64')}`)
          }
          const person = of.challenge && readAuthenticate(message, of.challenge, accounts)
          delete of.challenge
          if (person === undefined) return refuse()
          of.person = person
          origin.signIns.push(person)
          socket.once('close', () => origin.closed.push(person))
        }
        if (of.person === undefined) return refuse()
        response.setHeader('Content-Type', 'text/html')
        response.end(`<h1>Hello ${of.person}</h1><p>${of.number}</p>`)
        return undefined
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    scope.after(() => {
      server.closeAllConnections()
      server.close()
    })
    const origin = new NtlmOrigin((server.address() as AddressInfo).port)
    return origin
  }
}

const utf16 = (text: string) => Buffer.from(text, 'utf16le')

/** CHALLENGE_MESSAGE (MS-NLMP section 2.2.1.2). */
function toChallenge(challenge: Buffer): Buffer {
  const pair = (id: number, value: Buffer) => {
    const head = Buffer.alloc(4)
    head.writeUInt16LE(id, 0)
    head.writeUInt16LE(value.length, 2)
    return Buffer.concat([head, value])
  }
  const name = utf16('CORP')
  const info = Buffer.concat([
    pair(2, name),
    pair(1, utf16('WEB')),
    pair(4, utf16('corp.example')),
    pair(3, utf16('web.corp.example')),
    pair(0, Buffer.alloc(0)),
  ])
  const head = Buffer.alloc(56)
  head.write('NTLMSSP\0', 0, 'latin1')
  head.writeUInt32LE(2, 8)
  const field = (at: number, length: number, offset: number) => {
    head.writeUInt16LE(length, at)
    head.writeUInt16LE(length, at + 2)
    head.writeUInt32LE(offset, at + 4)
  }
  field(12, name.length, 56)
  // Unicode, request target, NTLM, always sign, target is a domain, extended session security, target info, version, 128, 56.
  head.writeUInt32LE(0xa2898205, 20)
  challenge.copy(head, 24)
  field(40, info.length, 56 + name.length)
  Buffer.from([10, 0, 0, 0, 0, 0, 0, 15]).copy(head, 48)
  return Buffer.concat([head, name, info])
}

/** NEGOTIATE_MESSAGE of a client (MS-NLMP section 2.2.1.1), for the field `Authorization`. */
export const negotiate = `NTLM ${Buffer.concat([
  Buffer.from('NTLMSSP\0\x01\0\0\0', 'latin1'),
  // Unicode, NTLM, extended session security; no names.
  Buffer.from([0x01, 0x02, 0x08, 0x00]),
  Buffer.alloc(16),
]).toString('base64')}`

/**
 * A client's answer to a challenge.
 *
 * @param field `WWW-Authenticate` of the answer to `negotiate`
 * @returns the field `Authorization`
 */
export function answerChallenge(field: string, userName: string, password: string): string {
  const message = Buffer.from(field.replace(/^NTLM /, ''), 'base64')
  const offset = message.readUInt32LE(44)
  const info = message.subarray(offset, offset + message.readUInt16LE(40))
  const blob = Buffer.concat([
    Buffer.from([1, 1, 0, 0, 0, 0, 0, 0]),
    Buffer.alloc(8),
    randomBytes(8),
    Buffer.alloc(4),
    info,
    Buffer.alloc(4),
  ])
  const key = hmacMd5(md4(utf16(password)), utf16(`${userName.toUpperCase()}CORP`))
  const proof = hmacMd5(key, Buffer.concat([message.subarray(24, 32), blob]))
  const empty = Buffer.alloc(0)
  const parts = [empty, Buffer.concat([proof, blob]), utf16('CORP'), utf16(userName), empty, empty]
  const head = Buffer.alloc(64)
  head.write('NTLMSSP\0', 0, 'latin1')
  head.writeUInt32LE(3, 8)
  let at = 64
  for (const [index, part] of parts.entries()) {
    head.writeUInt16LE(part.length, 12 + index * 8)
    head.writeUInt16LE(part.length, 14 + index * 8)
    head.writeUInt32LE(at, 16 + index * 8)
    at += part.length
  }
  head.writeUInt32LE(0x00080201, 60)
  return `NTLM ${Buffer.concat([head, ...parts]).toString('base64')}`
}

/**
 * AUTHENTICATE_MESSAGE (MS-NLMP sections 2.2.1.3 and 3.3.2).
 *
 * @returns the person whose password answers the challenge
 */
function readAuthenticate(
  message: Buffer,
  challenge: Buffer,
  accounts: Accounts,
): string | undefined {
  const field = (at: number) => {
    const offset = message.readUInt32LE(at + 4)
    return message.subarray(offset, offset + message.readUInt16LE(at))
  }
  const isUnicode = (message.readUInt32LE(60) & 1) !== 0
  const text = (at: number) => field(at).toString(isUnicode ? 'utf16le' : 'latin1')
  const [response, domain, userName] = [field(20), text(28), text(36)]
  const password = accounts[userName]
  if (password === undefined || response.length <= 24) return undefined
  const key = hmacMd5(md4(utf16(password)), utf16(userName.toUpperCase() + domain))
  const proof = hmacMd5(key, Buffer.concat([challenge, response.subarray(16)]))
  return timingSafeEqual(proof, response.subarray(0, 16)) ? userName : undefined
}

function hmacMd5(key: Buffer, data: Buffer): Buffer {
  return createHmac('md5', key).update(data).digest()
}

/** RFC 1320; OpenSSL 3 has it no more. */
function md4(input: Buffer): Buffer {
  const padded = Buffer.alloc(((input.length + 8) >> 6) * 64 + 64)
  input.copy(padded)
  padded[input.length] = 0x80
  padded.writeUInt32LE(input.length * 8, padded.length - 8)
  const state = new Uint32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476])
  const rounds = [
    {
      mix: (x: number, y: number, z: number) => (x & y) | (~x & z),
      order: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
      shifts: [3, 7, 11, 19],
      constant: 0,
    },
    {
      mix: (x: number, y: number, z: number) => (x & y) | (x & z) | (y & z),
      order: [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
      shifts: [3, 5, 9, 13],
      constant: 0x5a827999,
    },
    {
      mix: (x: number, y: number, z: number) => x ^ y ^ z,
      order: [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15],
      shifts: [3, 9, 11, 15],
      constant: 0x6ed9eba1,
    },
  ]
  for (let block = 0; block < padded.length; block += 64) {
    let [a, b, c, d] = state as unknown as [number, number, number, number]
    for (const { mix, order, shifts, constant } of rounds)
      for (const [index, word] of order.entries()) {
        const sum = (a + mix(b, c, d) + padded.readUInt32LE(block + word * 4) + constant) >>> 0
        const shift = shifts[index % 4]!
        const turned = ((sum << shift) | (sum >>> (32 - shift))) >>> 0
        ;[a, b, c, d] = [d, turned, b, c]
      }
    state[0]! += a
    state[1]! += b
    state[2]! += c
    state[3]! += d
  }
  return Buffer.from(state.buffer)
}
