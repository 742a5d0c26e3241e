import { isDeepStrictEqual } from 'node:util'
import {
  type Application,
  applicationSchema,
  headerSignOnFields,
  kerberosSettingsSchema,
  oidcSignOnFields,
  passwordSettingsSchema,
  type SignOnMethod,
  samlSignOnFields,
} from '@sallyport/domain'
import { z } from 'zod'
import { displayText } from '../commands/references.ts'
import { fromTimeout, timeoutSchema, toTimeout } from './timeout.ts'

/** A setting that Entra has too: files have its name and its values for it. */
interface Translation {
  /** Our name. */
  field: keyof Application
  schema: z.ZodType
  fromObject(value: never): unknown
  toObject(value: never): unknown
}

const { shape } = applicationSchema

/** Entra's mode; and the field that Entra keeps its settings in, if it has one. */
const signOnModes: Record<SignOnMethod, readonly [mode: string, settings?: string]> = {
  none: ['none'],
  headers: ['headerBased'],
  kerberos: ['onPremisesKerberos', 'kerberosSignOnSettings'],
  password: ['password', 'passwordSignOnSettings'],
  saml: ['saml'],
  oidc: ['oidc'],
}

/** By Entra's name (`onPremisesPublishing` of Microsoft Graph). */
const translations: Record<string, Translation> = {
  externalAuthenticationType: {
    field: 'preAuthentication',
    schema: z
      .enum(['aadPreAuthentication', 'passthru'])
      .default('aadPreAuthentication')
      .describe(
        'aadPreAuthentication: no byte reaches the origin without a session. passthru: everybody reaches it, there is no sign-in and no sign-on.',
      ),
    fromObject: (value: string) => (value === 'passthru' ? 'passthrough' : 'identity'),
    toObject: (value: string) => (value === 'passthrough' ? 'passthru' : 'aadPreAuthentication'),
  },
  appRoleAssignmentRequired: {
    field: 'assignmentRequired',
    schema: shape.assignmentRequired,
    fromObject: (value: boolean) => value,
    toObject: (value: boolean) => value,
  },
  singleSignOnSettings: {
    field: 'signOn',
    schema: z
      .discriminatedUnion('singleSignOnMode', [
        z.strictObject({ singleSignOnMode: z.literal('none') }),
        z.strictObject({
          singleSignOnMode: z.literal('headerBased'),
          ...headerSignOnFields,
        }),
        z.strictObject({
          singleSignOnMode: z.literal('onPremisesKerberos'),
          kerberosSignOnSettings: kerberosSettingsSchema,
        }),
        z.strictObject({
          singleSignOnMode: z.literal('password'),
          passwordSignOnSettings: passwordSettingsSchema,
        }),
        z.strictObject({ singleSignOnMode: z.literal('saml'), ...samlSignOnFields }),
        z.strictObject({ singleSignOnMode: z.literal('oidc'), ...oidcSignOnFields }),
      ])
      .default({ singleSignOnMode: 'none' })
      .describe('How the origin learns who the person is.'),
    fromObject: ({ singleSignOnMode, ...rest }: { singleSignOnMode: string }) => {
      const [method, [, nested]] = Object.entries(signOnModes).find(
        ([, [mode]]) => mode === singleSignOnMode,
      )!
      return { method, ...(nested ? (rest as Record<string, object>)[nested] : rest) }
    },
    toObject: ({ method, ...rest }: { method: SignOnMethod }) => {
      const [mode, nested] = signOnModes[method]
      return { singleSignOnMode: mode, ...(nested ? { [nested]: rest } : rest) }
    },
  },
  isTranslateHostHeaderEnabled: {
    field: 'hostHeader',
    schema: z
      .boolean()
      .default(true)
      .describe('true: the origin sees the host of the internal URL in Host. false: the external.'),
    fromObject: (value: boolean) => (value ? 'internal' : 'external'),
    toObject: (value: string) => value === 'internal',
  },
  applicationServerTimeout: {
    field: 'backendTimeoutMs',
    schema: timeoutSchema,
    fromObject: fromTimeout,
    toObject: toTimeout,
  },
  isBackendCertificateValidationEnabled: {
    field: 'validateBackendCertificate',
    schema: shape.validateBackendCertificate,
    fromObject: (value: boolean) => value,
    toObject: (value: boolean) => value,
  },
}

/** Settings of Entra that have one value here: that one is taken, so that files may come from there. */
const fixed: Record<string, z.ZodType> = {
  isHttpOnlyCookieEnabled: always(true, 'no script ever reads a cookie of Sallyport'),
  isSecureCookieEnabled: always(true, 'cookies of Sallyport go over TLS only'),
  isPersistentCookieEnabled: always(false, 'cookies of Sallyport end with the browser'),
  isStateSessionEnabled: always(true, 'the state of a sign-in is always checked'),
  isContinuousAccessEvaluationEnabled: always(true, 'access is decided with every request'),
  isTranslateLinksInBodyEnabled: always(false, 'links in bodies are not rewritten'),
}

function always(value: boolean, why: string): z.ZodType {
  return z
    .boolean()
    .refine((given) => given === value, { error: `must be ${value}: ${why}` })
    .optional()
    .meta({ const: value, description: `Always ${value}: ${why}.` })
}

/** What Entra has no name for keeps ours; a field that is new in domain is here by itself. */
function ownFields(): Record<string, z.ZodType> {
  const translated = new Set<string>(Object.values(translations).map(({ field }) => field))
  return Object.fromEntries(
    Object.entries(shape).filter(([field]) => field !== 'id' && !translated.has(field)),
  )
}

const settings: Record<string, z.ZodType> = {
  ...ownFields(),
  displayName: displayText
    .optional()
    .describe('What people see: the tile, the sign-in page. Default: the name.'),
  ...Object.fromEntries(Object.entries(translations).map(([name, { schema }]) => [name, schema])),
}

/** Fields of an application in a file, but for its kind and its assignments. */
export const applicationFields: Record<string, z.ZodType> = { ...settings, ...fixed }

/** An application as files write it, with every default filled in. */
export type ApplicationObject = { name: string } & Record<string, unknown>

/** @param object checked before */
export function toApplicationInput(object: ApplicationObject): Omit<Application, 'id'> {
  const fields = Object.keys(settings).map((name) => {
    const value = object[name]
    const translation = translations[name]
    return translation
      ? [translation.field, translation.fromObject(value as never)]
      : [name, name === 'displayName' ? (value ?? object.name) : value]
  })
  return Object.fromEntries(fields)
}

/** Every setting of an application, as files write it. */
export function toApplicationObject(application: Application): ApplicationObject {
  const ours: Record<string, unknown> = { ...application }
  return Object.fromEntries(
    Object.keys(settings).map((name) => {
      const translation = translations[name]
      return [
        name,
        translation ? translation.toObject(ours[translation.field] as never) : ours[name],
      ]
    }),
  ) as ApplicationObject
}

/** Without what a reader of the file would add by himself. */
export function withoutDefaults(object: ApplicationObject): Record<string, unknown> {
  const { name, externalUrl, internalUrl } = object
  const defaults = toApplicationObject(
    applicationSchema.parse({
      id: '00000000-0000-4000-8000-000000000000',
      name,
      displayName: name,
      externalUrl,
      internalUrl,
    }),
  )
  const always = new Set(['name', 'externalUrl', 'internalUrl', 'externalAuthenticationType'])
  return Object.fromEntries(
    Object.entries(object).filter(
      ([field, value]) => always.has(field) || !isDeepStrictEqual(value, defaults[field]),
    ),
  )
}

/** The name that files have for a field of ours. */
export function toObjectField(field: string): string {
  const found = Object.entries(translations).find(([, translation]) => translation.field === field)
  return found?.[0] ?? field
}

/** The name of ours for a field of a file. */
export function fromObjectField(name: string): string {
  return translations[name]?.field ?? name
}
