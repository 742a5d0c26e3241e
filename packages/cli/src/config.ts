import { existsSync, readFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { ConfigurationError, isHostName, type Problem } from '@sallyport/domain'
import { parseDocument } from 'yaml'
import { z } from 'zod'

const port = z.int().min(1).max(65_535)

const addressRange = z.string().refine(isAddressRange, {
  error: 'must be an IP address or a CIDR range such as 10.0.0.0/8',
})

function isAddressRange(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  if (bits === undefined) return true
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > (family === 6 ? 128 : 32)) return false
  new BlockList().addSubnet(address, Number(bits), family === 6 ? 'ipv6' : 'ipv4')
  return true
}

/** `sallyport serve --config FILE`. Every field has a default but the two that no default can know. */
export const serviceConfigSchema = z.strictObject({
  /** Domain under which login., apps., admin. and connect. live, and applications by default. */
  baseDomain: z
    .string()
    .transform((text) => text.toLowerCase())
    .refine(isHostName, { error: 'must be a DNS name such as access.example.com' }),
  /** Folder of the database, keys and certificates; made if it does not exist. */
  dataDir: z.string().min(1),
  listen: z
    .strictObject({
      /** Address to listen on; `::` is all of IPv6 and IPv4. */
      address: z
        .string()
        .refine((text) => isIP(text) !== 0, { error: 'must be an IP address' })
        .default('::'),
      port: port.default(443),
    })
    .prefault({}),
  /** The port in URLs, where a balancer or a port forwarding makes it another than listen.port. */
  publicPort: port.optional(),
  /**
   * Plain HTTP for application hosts, behind a balancer that ends TLS: only its address may reach this port.
   */
  plainListen: z
    .strictObject({
      address: z
        .string()
        .refine((text) => isIP(text) !== 0, { error: 'must be an IP address' })
        .default('127.0.0.1'),
      port: z.int().min(0).max(65_535),
    })
    .optional(),
  /** Peers whose X-Forwarded-For is believed. */
  trustedProxies: z.array(addressRange).default([]),
  /** Certificates of your own, PEM; hosts that none of them covers get one of the built-in authority. */
  certificates: z
    .array(z.strictObject({ certificateFile: z.string().min(1), keyFile: z.string().min(1) }))
    .default([]),
  /** Key that seals secrets in the database; kept outside of it. Default: `key` in the data folder. */
  keyFile: z.string().min(1).optional(),
  /** One JSON line for each request. Default: `access.log` in the data folder; `-` is standard output. */
  accessLog: z.string().min(1).optional(),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

export type ServiceConfig = z.output<typeof serviceConfigSchema>

/**
 * Reads a configuration file. File names in it are relative to it.
 *
 * @throws ConfigurationError with every problem, each with its path
 */
export function readServiceConfig(file: string): ServiceConfig {
  if (!existsSync(file))
    throw new ConfigurationError([
      { path: file, message: 'does not exist; give the file with --config' },
    ])
  const config = parseServiceConfig(readFileSync(file, 'utf8'))
  const base = dirname(resolve(file))
  return {
    ...config,
    dataDir: resolve(base, config.dataDir),
    ...(config.keyFile === undefined ? {} : { keyFile: resolve(base, config.keyFile) }),
    ...(config.accessLog === undefined || config.accessLog === '-'
      ? {}
      : { accessLog: resolve(base, config.accessLog) }),
    certificates: config.certificates.map(({ certificateFile, keyFile }) => ({
      certificateFile: resolve(base, certificateFile),
      keyFile: resolve(base, keyFile),
    })),
  }
}

/** @throws ConfigurationError */
export function parseServiceConfig(text: string): ServiceConfig {
  // A document with a duplicate key or a tab is wrong, and says where.
  const document = parseDocument(text, { strict: true, uniqueKeys: true })
  if (document.errors.length > 0)
    throw new ConfigurationError(
      document.errors.map((error) => ({ path: 'YAML', message: error.message.split('\n')[0]! })),
    )
  return parseConfig(serviceConfigSchema, document.toJS({ maxAliasCount: 0 }) ?? {})
}

/** @throws ConfigurationError */
export function parseConfig<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new ConfigurationError(result.error.issues.map(toProblem))
}

function toProblem(issue: z.core.$ZodIssue): Problem {
  const path = issue.path.map(String).join('.') || 'configuration'
  if (issue.code === 'unrecognized_keys')
    return { path, message: `unknown key ${issue.keys.join(', ')}; check the spelling` }
  return { path, message: issue.message }
}
