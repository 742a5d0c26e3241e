import { isIP } from 'node:net'
import { z } from 'zod'
import { file } from './config-fields.ts'

/** Where a PostgreSQL is, and who asks there; never the password. */
export interface ServerAddress {
  /** Name, IP address, or the folder of its Unix socket. */
  host: string
  port: number
  database: string
  user: string
}

const defaultPort = 5432

const url = z.string().transform((text, context): ServerAddress => {
  const address = parseAddress(text)
  if (typeof address !== 'string') return address
  context.addIssue({ code: 'custom', message: address })
  return z.NEVER
})

const postgresql = z
  .strictObject({
    kind: z.literal('postgresql'),
    /** `postgresql://USER@HOST:PORT/DATABASE`, or `postgresql:///DATABASE?host=/SOCKET/FOLDER&user=USER`. */
    url,
    /** Read at each connection, so that a changed password needs no restart. */
    passwordFile: file.optional(),
    /** Authority of the server's certificate, PEM. Default: the well-known ones. */
    caFile: file.optional(),
    /** Default: `verify`, but `off` on this machine without a caFile. */
    tls: z.enum(['verify', 'off']).optional(),
  })
  .superRefine(({ tls, caFile, url }, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message })
    if (tls === 'off' && caFile !== undefined)
      refuse('caFile', 'has no effect with tls: off; remove one of the two')
    if (url?.host.startsWith('/') && (tls === 'verify' || caFile !== undefined))
      refuse(tls ? 'tls' : 'caFile', 'is not for a Unix socket; remove it')
  })

/** Where the service keeps what it keeps. */
export const databaseSchema = z
  .discriminatedUnion('kind', [z.strictObject({ kind: z.literal('sqlite') }), postgresql], {
    error: ({ code }) =>
      code === 'invalid_union' ? 'must be one of: sqlite, postgresql' : undefined,
  })
  .default({ kind: 'sqlite' })

export type DatabaseConfig = z.output<typeof databaseSchema>

/** Whether the connection is encrypted, and the server's certificate verified. */
export function usesTls(config: Extract<DatabaseConfig, { kind: 'postgresql' }>): boolean {
  if (config.tls !== undefined) return config.tls === 'verify'
  return config.caFile !== undefined || !isThisMachine(config.url.host)
}

function isThisMachine(host: string): boolean {
  return (
    host.startsWith('/') ||
    host === 'localhost' ||
    host === '::1' ||
    (isIP(host) === 4 && host.startsWith('127.'))
  )
}

/** @returns what is wrong with it, if something is; never what it holds */
function parseAddress(text: string): ServerAddress | string {
  let parsed: URL
  try {
    parsed = new URL(text)
  } catch {
    return form
  }
  const { protocol, pathname, searchParams, hash } = parsed
  if (protocol !== 'postgresql:' && protocol !== 'postgres:') return form
  if (parsed.password !== '' || searchParams.has('password'))
    return 'must not hold a password; write that into a file, and name it in database.passwordFile'
  const names = [...searchParams.keys()]
  const strange = names.find((name) => name !== 'host' && name !== 'user')
  if (strange !== undefined || new Set(names).size < names.length || hash !== '')
    return 'must have no parameters but host and user; encryption is set by database.tls and database.caFile'
  const folder = searchParams.get('host')
  if (folder !== null && (!folder.startsWith('/') || parsed.hostname !== ''))
    return 'must name a host before the database, or the folder of a Unix socket as ?host=/folder'
  const address = {
    host: folder ?? parsed.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: parsed.port === '' ? defaultPort : Number(parsed.port),
    database: decode(pathname.slice(1)),
    user: decode(parsed.username) || (searchParams.get('user') ?? ''),
  }
  if (address.host === '') return form
  if (address.port === 0) return 'must have a port of 1-65535'
  if (address.user === '') return 'must name the user: postgresql://USER@HOST/DATABASE'
  if (address.database === '' || address.database.includes('/'))
    return 'must end with the name of the database: postgresql://USER@HOST/DATABASE'
  if (Object.values(address).some((value) => String(value).includes('\0')))
    return 'must not hold a NUL'
  return address
}

const form = 'must be of the form postgresql://USER@HOST:PORT/DATABASE'

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
