import { z } from 'zod'
import { claimFields } from './claims.ts'

/** Fields that sign-on by headers may not set: framing, routing and those the gateway writes itself. */
export const reservedHeaderNames: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'cookie',
  'expect',
  'forwarded',
  'host',
  'http2-settings',
  'keep-alive',
  // CGI makes HTTP_PROXY of it, which HTTP clients in origins obey.
  'proxy',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
])

/** Name of a header that an administrator has a say in. */
export const headerName = z
  .string()
  .regex(/^[A-Za-z0-9-]{1,64}$/, 'must be a header name of letters, digits and -')
  .refine((name) => !reservedHeaderNames.has(name.toLowerCase()) && !/^sallyport-/i.test(name), {
    error: 'is a header that Sallyport or HTTP itself sets; choose another name',
  })

const name = headerName.describe('Name of the header.')

const headerSchema = z.union([
  z.strictObject({ name, ...claimFields }),
  z.strictObject({
    name,
    value: z
      .string()
      .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')
      .max(1024)
      .describe('A constant.'),
  }),
])

function areDistinct(names: readonly string[]): boolean {
  return new Set(names.map((name) => name.toLowerCase())).size === names.length
}

/** What sign-on by headers sends. */
export const signOnHeadersSchema = z
  .array(headerSchema)
  .min(1)
  .max(50)
  .refine((headers) => areDistinct(headers.map(({ name }) => name)), {
    error: 'must not name one header twice: origins differ in which of the two they believe',
  })
  .describe('Headers that the origin gets with each request.')

/** Fields of sign-on by headers, beside the method. */
export const headerSignOnFields = {
  headers: signOnHeadersSchema,
  paths: z
    .array(
      z.strictObject({
        path: z
          .string()
          .max(1024)
          .regex(
            /^\/(?:[A-Za-z0-9._~!$&'()*+,=:@-]+\/)*$/,
            'must be a plain path such as /reports/: begins and ends with /, no %, ; or //',
          )
          .refine((path) => !/\/\.{1,2}\//.test(path), { error: 'must hold no dot segments' })
          .describe('Path on the external host, below that of the external URL.'),
        headers: signOnHeadersSchema,
      }),
    )
    .max(50)
    .refine((paths) => new Set(paths.map(({ path }) => path.toLowerCase())).size === paths.length, {
      error: 'must not name one path twice',
    })
    .optional()
    .describe('Paths that get other headers: these, and none of the others.'),
}

export const stripHeadersSchema = z
  .array(headerName)
  .max(50)
  .refine(areDistinct, { error: 'must not name one header twice' })
  .default([])
  .describe(
    'Headers that are removed from what clients send to this application, in every spelling, beside those of sign-on.',
  )

export type SignOnHeader = z.output<typeof headerSchema>
