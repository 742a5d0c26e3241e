import { X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { authorityProblem } from '../reserved-host.ts'
import { claimFields } from './claims.ts'

/**
 * Sign-on by SAML 2.0: the application is a service provider, and Sallyport its identity provider. Entra's names are in
 * parentheses where the setting exists there.
 */

/** An entity ID is compared letter by letter, so white space would only be looked for in vain. */
const entityId = z
  .string()
  .max(1_024)
  .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')

const endpointUrl = z
  .string()
  .max(2_048)
  .superRefine((value, context) => {
    const message = endpointProblem(value)
    if (message) context.addIssue({ code: 'custom', message })
  })

function endpointProblem(value: string): string | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (!url) return 'must be an absolute URL such as https://hr.example.com/saml/acs'
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    return 'must begin with https://, or with the internal URL of the application'
  const authority = authorityProblem(url)
  if (authority) return authority
  if (value.includes('#')) return 'must not hold a fragment'
  if (!/^[\x21-\x7e]+$/.test(value)) return 'must be written in ASCII without spaces'
  return undefined
}

const certificate = z
  .string()
  .max(16_384)
  .superRefine((value, context) => {
    const message = certificateProblem(value)
    if (message) context.addIssue({ code: 'custom', message })
  })

function certificateProblem(pem: string): string | undefined {
  let read: X509Certificate
  try {
    read = new X509Certificate(pem)
  } catch {
    return 'must be one certificate in PEM form, with its BEGIN and END lines'
  }
  const { asymmetricKeyType, asymmetricKeyDetails } = read.publicKey
  if (asymmetricKeyType !== 'rsa') return 'must hold an RSA key'
  if ((asymmetricKeyDetails?.modulusLength ?? 0) < 2_048)
    return 'must hold an RSA key of at least 2048 bits'
  return undefined
}

const attributeFacts = {
  name: z.string().min(1).max(256).describe('Name of the attribute.'),
  nameFormat: z
    .enum(['unspecified', 'basic', 'uri'])
    .default('unspecified')
    .describe('What kind of name it is (NameFormat).'),
}

const attributeSchema = z.union([
  z.strictObject({ ...attributeFacts, ...claimFields }),
  z.strictObject({
    ...attributeFacts,
    value: z.string().max(1_024).describe('A constant.'),
  }),
])

const nameIdSchema = z.discriminatedUnion('format', [
  z.strictObject({
    format: z.literal('unspecified'),
    claim: z.enum(['userName', 'mail', 'objectId']).default('userName'),
    transforms: claimFields.transforms,
  }),
  z.strictObject({
    format: z.literal('emailAddress'),
    claim: z.enum(['userName', 'mail']).default('mail'),
    transforms: claimFields.transforms,
  }),
  z.strictObject({ format: z.literal('persistent') }),
  z.strictObject({ format: z.literal('transient') }),
])

/** Names that Entra gives by default, so that applications set up for it find what they look for. */
const defaultAttributes = [
  ['http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name', 'userName'],
  ['http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress', 'mail'],
  ['http://schemas.microsoft.com/identity/claims/displayname', 'displayName'],
  ['http://schemas.microsoft.com/identity/claims/objectidentifier', 'objectId'],
] as const

/** Fields of sign-on by SAML, without the one that says that it is this. */
export const samlSignOnFields = {
  entityId: entityId.describe(
    'What the application calls itself (Identifier); the audience of assertions.',
  ),
  assertionConsumerServices: z
    .array(
      z.strictObject({
        url: endpointUrl.describe('Where a response may go, and nowhere else.'),
        index: z.int().min(0).max(65_535).optional().describe('By which a request may name it.'),
      }),
    )
    .min(1)
    .max(50)
    .describe('Where responses go (Reply URL), the usual one first.'),
  singleLogoutService: z
    .strictObject({
      url: endpointUrl.describe('Where logout requests go.'),
      responseUrl: endpointUrl.optional().describe('Where logout responses go, if elsewhere.'),
      binding: z.enum(['redirect', 'post']).default('redirect').describe('How they get there.'),
    })
    .optional()
    .describe('Where the application hears of sign-outs (Logout URL).'),
  logoutSoapUrl: endpointUrl
    .optional()
    .describe(
      'Where the service itself tells it, by SOAP through a connector, that a session has ended without its browser.',
    ),
  requestCertificates: z
    .array(certificate)
    .max(10)
    .default([])
    .describe(
      'Certificates whose keys sign what the application sends; two while it changes them.',
    ),
  requireSignedRequests: z
    .boolean()
    .default(false)
    .describe('Whether sign-in requests must be signed. Logout requests always must.'),
  sign: z.enum(['assertion', 'response', 'both']).default('assertion').describe('What is signed.'),
  encryptionCertificate: certificate
    .optional()
    .describe('Assertions are encrypted for its key. Default: they are not encrypted.'),
  encryptionAlgorithm: z
    .enum(['aes256-gcm', 'aes256-cbc'])
    .default('aes256-gcm')
    .describe('How; CBC for service providers that know nothing newer.'),
  nameId: nameIdSchema
    .default({ format: 'unspecified', claim: 'userName' })
    .describe('What the person is called in the subject of assertions.'),
  attributes: z
    .array(attributeSchema)
    .max(100)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, {
      error:
        'must not name one attribute twice: service providers differ in which of the two they believe',
    })
    .default(() =>
      defaultAttributes.map(([name, claim]) => ({
        name,
        nameFormat: 'unspecified' as const,
        claim,
      })),
    )
    .describe('What assertions say of the person.'),
  start: z
    .enum(['application', 'response'])
    .default('application')
    .describe(
      'What the tile in the portal does. application: opens the application, which asks for a sign-in. response: sends it a sign-in that it has not asked for.',
    ),
  relayState: z
    .string()
    .max(1_024)
    .optional()
    .describe('RelayState of a sign-in that was not asked for. Default: none.'),
}

export const samlSignOnSchema = z.strictObject({ method: z.literal('saml'), ...samlSignOnFields })

export type SamlSignOn = z.output<typeof samlSignOnSchema>
export type SamlAttribute = z.output<typeof attributeSchema>
