import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { ConfigurationError, isHostName, type Problem, toProblems } from '@sallyport/domain'
import { isAlias, LineCounter, parseDocument, visit } from 'yaml'
import { z } from 'zod'
import { file } from './config-fields.ts'
import { type DatabaseConfig, databaseSchema } from './database-config.ts'

const port = z.int().min(1).max(65_535)

const address = z.string().refine((text) => isIP(text) !== 0, { error: 'must be an IP address' })

const addressRange = z.string().refine(isAddressRange, {
  error: 'must be an IP address or a CIDR range such as 10.0.0.0/8',
})

function isAddressRange(text: string): boolean {
  const [, ip = '', bits = '0'] = /^([^/%]+)(?:\/([0-9]{1,3}))?$/.exec(text) ?? []
  return isIP(ip) !== 0 && Number(bits) <= (isIP(ip) === 6 ? 128 : 32)
}

/** The longest system host is `connect.<base domain>`, and RFC 1035 section 2.3.4 ends a name at 253. */
const maxBaseDomain = 253 - 'connect.'.length

/** `sallyport serve --config FILE`. Every field has a default but the two that no default can know. */
export const serviceConfigSchema = z.strictObject({
  /** Domain under which login., apps., admin. and connect. live, and applications by default. */
  baseDomain: z
    .string()
    .transform((text) => text.toLowerCase())
    .refine((text) => isHostName(text) && text.length <= maxBaseDomain, {
      error: 'must be a DNS name such as access.example.com',
    }),
  /** Folder of the database, keys and certificates; made if it does not exist. */
  dataDir: file,
  listen: z
    .strictObject({
      /** Address to listen on; `::` is all of IPv6 and IPv4. */
      address: address.default('::'),
      port: port.default(443),
    })
    .prefault({}),
  /** The port in URLs, where a balancer or a port forwarding makes it another than listen.port. */
  publicPort: port.optional(),
  /**
   * Plain HTTP for application hosts, behind a balancer that ends TLS: only its address may reach this port.
   */
  plainListen: z
    .strictObject({ address: address.default('127.0.0.1'), port: z.int().min(0).max(65_535) })
    .optional(),
  /** Peers whose X-Forwarded-For is believed. */
  trustedProxies: z.array(addressRange).default([]),
  /** Certificates of your own, PEM; hosts that none of them covers get one of the built-in authority. */
  certificates: z.array(z.strictObject({ certificateFile: file, keyFile: file })).default([]),
  /** Where everything is kept. Default: an SQLite file in the data folder. */
  database: databaseSchema,
  /** Key that seals secrets in the database; kept outside of it. Default: `key` in the data folder. */
  keyFile: file.optional(),
  /** One JSON line for each request. Default: `access.log` in the data folder; `-` is standard output. */
  accessLog: file.optional(),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

export type ServiceConfig = z.output<typeof serviceConfigSchema>

/** The files of a service beside those that its configuration names. */
export function serviceFiles(config: Pick<ServiceConfig, 'dataDir' | 'keyFile' | 'accessLog'>) {
  const { dataDir } = config
  return {
    database: join(dataDir, 'sallyport.db'),
    key: config.keyFile ?? join(dataDir, 'key'),
    accessLog: config.accessLog ?? join(dataDir, 'access.log'),
    controlSocket: join(dataDir, 'control.sock'),
    webCa: join(dataDir, 'web-ca.pem'),
  }
}

/** `sun_path` of unix(7), less its final zero; what is longer would be cut without a word. */
const maxSocketPathBytes = 107

/**
 * Reads a configuration file. File names in it are relative to it.
 *
 * @throws ConfigurationError with every problem, each with its path
 */
export function readServiceConfig(path: string): ServiceConfig {
  const config = parseServiceConfig(readText(path))
  const base = dirname(resolve(path))
  const absolute = {
    ...config,
    dataDir: resolve(base, config.dataDir),
    ...(config.keyFile === undefined ? {} : { keyFile: resolve(base, config.keyFile) }),
    ...(config.accessLog === undefined || config.accessLog === '-'
      ? {}
      : { accessLog: resolve(base, config.accessLog) }),
    database: resolveFiles(config.database, base),
    certificates: config.certificates.map(({ certificateFile, keyFile }) => ({
      certificateFile: resolve(base, certificateFile),
      keyFile: resolve(base, keyFile),
    })),
  }
  const socket = serviceFiles(absolute).controlSocket
  if (Buffer.byteLength(socket) > maxSocketPathBytes)
    throw refuse(
      'dataDir',
      `must be a shorter path: ${socket} has more than ${maxSocketPathBytes} bytes`,
    )
  return absolute
}

function resolveFiles(database: DatabaseConfig, base: string): DatabaseConfig {
  if (database.kind === 'sqlite') return database
  const { passwordFile, caFile } = database
  return {
    ...database,
    ...(passwordFile === undefined ? {} : { passwordFile: resolve(base, passwordFile) }),
    ...(caFile === undefined ? {} : { caFile: resolve(base, caFile) }),
  }
}

function readText(path: string): string {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw refuse(
      path,
      code === 'ENOENT'
        ? 'does not exist; name the configuration file with --config FILE'
        : `cannot be read (${code})`,
    )
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw refuse(path, 'must be UTF-8')
  }
}

/** @throws ConfigurationError */
export function parseServiceConfig(text: string): ServiceConfig {
  const result = serviceConfigSchema.safeParse(parseYaml(text) ?? {})
  if (result.success) return result.data
  throw new ConfigurationError(toProblems(result.error, serviceConfigSchema, 'configuration'))
}

/**
 * Strict YAML: what one reader takes for this and another for that is refused, such as a key that stands twice.
 *
 * @throws ConfigurationError
 */
function parseYaml(text: string): unknown {
  const lines = new LineCounter()
  const at = (offset: number) => `line ${lines.linePos(offset).line}`
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
    const problems: Problem[] = [...document.errors, ...document.warnings].map(
      ({ code, message, pos }) => ({ path: at(pos[0]), message: yamlWords[code] ?? message }),
    )
    if (problems.length === 0)
      visit(document, {
        Node(_key, node) {
          if (!isAlias(node) && node.anchor === undefined) return
          const message = 'must not use anchors (&) and aliases (*); write the value out'
          problems.push({ path: at(node.range?.[0] ?? 0), message })
        },
      })
    // One that is cut off in the middle makes as many as it has brackets.
    if (problems.length > 0) throw new ConfigurationError(problems.slice(0, maxYamlProblems))
    return document.toJS()
  } catch (error) {
    // The parser calls itself for each level.
    if (error instanceof RangeError) throw refuse('configuration', 'is nested too deeply')
    throw error
  }
}

const maxYamlProblems = 10

/** Errors of the parser that speak to programmers, in other words. */
const yamlWords: Partial<Record<string, string>> = {
  MULTIPLE_DOCS: 'must be the only document; remove the line --- and what follows',
  DUPLICATE_KEY: 'sets a key for the second time; keep one of the two',
  RESOURCE_EXHAUSTION: 'is nested too deeply',
  TAB_AS_INDENT: 'must be indented with spaces, not with tabs',
}

function refuse(path: string, message: string): ConfigurationError {
  return new ConfigurationError([{ path, message }])
}
