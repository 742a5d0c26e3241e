import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { ConfigurationError, isHostName, toProblems } from '@sallyport/domain'
import { z } from 'zod'
import { file } from './config-fields.ts'
import { type DatabaseConfig, databaseSchema } from './database-config.ts'
import { isLoopbackAddress } from './metrics/loopback.ts'
import { decodeUtf8, readYaml } from './yaml.ts'

const port = z.int().min(1).max(65_535)

const address = z.string().refine((text) => isIP(text) !== 0, { error: 'must be an IP address' })

const addressRange = z.string().refine(isAddressRange, {
  error: 'must be an IP address or a CIDR range such as 10.0.0.0/8',
})

function isAddressRange(text: string): boolean {
  const [, ip = '', bits = '0'] = /^([^/%]+)(?:\/([0-9]{1,3}))?$/.exec(text) ?? []
  return isIP(ip) !== 0 && Number(bits) <= (isIP(ip) === 6 ? 128 : 32)
}

function isCollectorUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return (
    (url?.protocol === 'http:' || url?.protocol === 'https:') &&
    !/[@?#]/.test(text) &&
    url.hostname !== ''
  )
}

/** The longest system host is `connect.<base domain>`, and RFC 1035 section 2.3.4 ends a name at 253. */
const maxBaseDomain = 253 - 'connect.'.length

/**
 * `sallyport serve --config FILE`. Every field has a default but the two that no default can know. Descriptions go
 * into the reference and the JSON schema.
 */
export const serviceConfigSchema = z.strictObject({
  baseDomain: z
    .string()
    .transform((text) => text.toLowerCase())
    .refine((text) => isHostName(text) && text.length <= maxBaseDomain, {
      error: 'must be a DNS name such as access.example.com',
    })
    .describe(
      'Domain under which login., apps., admin. and connect. live, and applications by default; a DNS name.',
    ),
  dataDir: file.describe(
    'Folder of the database, keys and certificates. Made with mode 0700 if it is not there.',
  ),
  listen: z
    .strictObject({
      address: address
        .default('::')
        .describe('IP address to listen on; :: is all of IPv6 and IPv4.'),
      port: port.default(443).describe('The one TLS port.'),
    })
    .prefault({}),
  publicPort: port
    .optional()
    .describe(
      'The port in URLs, where a balancer or port forwarding makes it another. Default: listen.port.',
    ),
  plainListen: z
    .strictObject({
      address: address.default('127.0.0.1').describe('Where it listens.'),
      port: z
        .int()
        .min(0)
        .max(65_535)
        .describe(
          'Plain HTTP for application hosts, behind a balancer that ends TLS: only its address may reach this port. 0 takes a free one. Default: none.',
        ),
    })
    .optional(),
  metricsListen: z
    .strictObject({
      address: z
        .string()
        .refine(isLoopbackAddress, { error: 'must be a loopback address such as 127.0.0.1 or ::1' })
        .default('127.0.0.1')
        .describe('Loopback address where numbers are listened for.'),
      port: z
        .int()
        .min(0)
        .max(65_535)
        .describe(
          'Numbers for Prometheus, at /metrics, for programs of this machine. 0 takes a free port. Default: none.',
        ),
    })
    .optional(),
  tracing: z
    .strictObject({
      endpoint: z
        .string()
        .refine(isCollectorUrl, {
          error:
            'must be a URL such as http://127.0.0.1:4318, without user name, query and fragment',
        })
        .describe(
          "Where a span for each request goes, by OTLP over HTTP: a path of its own, or /v1/traces of a collector's address. Default: none.",
        ),
      sampleRatio: z
        .number()
        .min(0)
        .max(1)
        .default(1)
        .describe(
          'How many of the requests are followed, of those that no trusted proxy has decided about.',
        ),
    })
    .optional(),
  trustedProxies: z
    .array(addressRange)
    .default([])
    .describe('Peers (IP addresses and CIDR ranges) whose X-Forwarded-For is believed.'),
  logoutAllow: z
    .array(addressRange)
    .default([])
    .describe(
      'Addresses inside (and CIDR ranges) that back-channel logout may reach, beside those of the internet.',
    ),
  certificates: z
    .array(
      z.strictObject({
        certificateFile: file.describe('PEM file with the certificate and its chain.'),
        keyFile: file.describe('PEM file with its private key.'),
      }),
    )
    .default([])
    .describe(
      'Certificates of your own. Hosts that none of them covers get one of the built-in authority.',
    ),
  database: databaseSchema.describe('Where everything is kept: a file in dataDir, or PostgreSQL.'),
  feedSilenceLimitMs: z
    .int()
    .min(10_000)
    .max(3_600_000)
    .default(60_000)
    .describe(
      'Milliseconds: applications that need a sign-in answer 503 when nobody could say for so long whose access has ended.',
    ),
  keyFile: file
    .optional()
    .describe(
      'The key that seals secrets in the database, kept outside of it. Made at the first start. Default: key in dataDir.',
    ),
  accessLog: file
    .optional()
    .describe(
      'One JSON line for each request; - is standard output. Default: access.log in dataDir.',
    ),
  accessLogRotation: z
    .strictObject({
      maxSizeMiB: z
        .int()
        .min(0)
        .max(1_048_576)
        .default(100)
        .describe(
          'A new access log is begun before the file has more MiB than that; 0: however long it gets.',
        ),
      maxAgeHours: z
        .int()
        .min(0)
        .max(8_784)
        .default(0)
        .describe('The same by its age; 0: however old it gets.'),
      keep: z
        .int()
        .min(1)
        .max(1_000)
        .default(10)
        .describe('How many files are kept beside the one that is written.'),
    })
    .prefault({}),
  auditRetentionDays: z
    .int()
    .min(1)
    .max(3_650)
    .default(365)
    .describe('How long changes and sign-ins stay in the audit log, in days.'),
  logLevel: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe("The service's own log: JSON lines on standard error."),
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
  const text = decodeUtf8(bytes)
  if (text === undefined) throw refuse(path, 'must be UTF-8')
  return text
}

const onlyOneDocument = 'must be the only document; remove the line --- and what follows'

/** @throws ConfigurationError */
export function parseServiceConfig(text: string): ServiceConfig {
  const { documents, problems } = readYaml(text)
  // A second document would be what one reader takes and another leaves.
  const all = documents[1]
    ? [...problems, { line: documents[1].line, message: onlyOneDocument }]
    : problems
  if (all.length > 0)
    throw new ConfigurationError(
      all.map(({ line, message }) => ({
        path: line === undefined ? 'configuration' : `line ${line}`,
        message,
      })),
    )
  const result = serviceConfigSchema.safeParse(documents[0]?.value ?? {})
  if (result.success) return result.data
  throw new ConfigurationError(toProblems(result.error, serviceConfigSchema, 'configuration'))
}

function refuse(path: string, message: string): ConfigurationError {
  return new ConfigurationError([{ path, message }])
}

/** For editors: completion and checks of sallyport.yaml. JSON Schema draft 7, which they know best. */
export function toServiceJsonSchema(): object {
  return z.toJSONSchema(serviceConfigSchema, { target: 'draft-7', io: 'input' })
}
