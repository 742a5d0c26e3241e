import { z } from 'zod'
import { toLowercase, toUppercase } from './letter-case.ts'
import { type OnPremises, onPremisesAttributes } from './on-premises.ts'

/**
 * Sign-on by Kerberos: the connector obtains, in the person's name, a ticket for the service principal name (constrained
 * delegation with protocol transition), and sends it with the request. Names of fields and values are Entra's.
 */

const hostLabels =
  '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*'
const principalPattern = new RegExp(`^[A-Za-z0-9]{1,32}/(?:\\*\\.)?${hostLabels}(?::[0-9]{1,5})?$`)

export const loginMappings = [
  'userPrincipalName',
  'onPremisesUserPrincipalName',
  'userPrincipalUsername',
  'onPremisesUserPrincipalUsername',
  'onPremisesSAMAccountName',
  'expression',
] as const

export type LoginMapping = (typeof loginMappings)[number]

const sources = ['userPrincipalName', 'mail', ...onPremisesAttributes] as const
const operations = ['lowercase', 'uppercase', 'username', 'domain'] as const
type Source = (typeof sources)[number]
type Operation = (typeof operations)[number]

const placeholder = /\{([^{}]*)\}/g

const fields = {
  kerberosServicePrincipalName: z
    .string()
    .max(256)
    .regex(principalPattern, 'must be a service principal name such as HTTP/hr.corp.example')
    .describe(
      'Service principal name of the application, such as HTTP/hr.corp.example. HTTP/*.corp.example: the first label is that of the internal host.',
    ),
  kerberosSignOnMappingAttributeType: z
    .enum(loginMappings)
    .default('userPrincipalName')
    .describe(
      'By which name the domain knows the person. userPrincipalUsername and onPremisesUserPrincipalUsername: what stands before the @. expression: as kerberosSignOnExpression says.',
    ),
  kerberosSignOnExpression: z
    .string()
    .min(1)
    .max(256)
    .superRefine((text, context) => {
      const message = expressionProblem(text)
      if (message) context.addIssue({ code: 'custom', message })
    })
    .optional()
    .describe(
      `The name, with {attribute} for what is known of the person (${sources.join(', ')}), each perhaps followed by |${operations.join(', |')}: {userPrincipalName|username}@corp.example.`,
    ),
  tokenFormat: z
    .enum(['spnego', 'kerberos'])
    .default('spnego')
    .describe('How the token is wrapped: SPNEGO, as browsers do, or Kerberos alone.'),
  sendToken: z
    .enum(['always', 'onChallenge'])
    .default('always')
    .describe(
      'always: with each request. onChallenge: only after the application has asked for it with 401; requests with a body carry it at once.',
    ),
} as const

function checkExpression(
  settings: {
    kerberosSignOnMappingAttributeType: LoginMapping
    kerberosSignOnExpression?: string | undefined
  },
  context: z.RefinementCtx,
): void {
  const isExpression = settings.kerberosSignOnMappingAttributeType === 'expression'
  if (isExpression === (settings.kerberosSignOnExpression !== undefined)) return
  context.addIssue({
    code: 'custom',
    path: ['kerberosSignOnExpression'],
    message: isExpression
      ? 'is needed by kerberosSignOnMappingAttributeType expression'
      : 'is used only with kerberosSignOnMappingAttributeType expression',
  })
}

export const kerberosSettingsSchema = z.strictObject(fields).superRefine(checkExpression)
export const kerberosSignOnSchema = z
  .strictObject({ method: z.literal('kerberos'), ...fields })
  .superRefine(checkExpression)

export type KerberosSignOn = z.output<typeof kerberosSignOnSchema>

/** What the directory says of a person, as far as a login name can be made of it. */
export interface LoginFacts extends OnPremises {
  userName: string
  mail?: string | undefined
}

/** A name as a Kerberos realm is asked for it. */
export interface KerberosLogin {
  /** `enterprise`: `name` is a userPrincipalName; `principal`: a sAMAccountName. */
  type: 'principal' | 'enterprise'
  name: string
  /** In capitals; absent: the realm of the connector's account. */
  realm?: string
}

/**
 * @returns the name, or the attribute that is not known of the person and that it would be made of
 */
export function toKerberosLogin(
  signOn: KerberosSignOn,
  facts: LoginFacts,
): KerberosLogin | { missing: string } {
  const mapping = signOn.kerberosSignOnMappingAttributeType
  const text = evaluate(
    mapping === 'expression' ? signOn.kerberosSignOnExpression! : expressions[mapping],
    facts,
  )
  if (typeof text === 'object') return text
  if (text.includes('@')) return { type: 'enterprise', name: text }
  const domain = facts.onPremisesDomainName
  return {
    type: 'principal',
    name: text,
    ...(domain === undefined ? {} : { realm: domain.toUpperCase() }),
  }
}

const expressions: Record<Exclude<LoginMapping, 'expression'>, string> = {
  userPrincipalName: '{userPrincipalName}',
  onPremisesUserPrincipalName: '{onPremisesUserPrincipalName}',
  userPrincipalUsername: '{userPrincipalName|username}',
  onPremisesUserPrincipalUsername: '{onPremisesUserPrincipalName|username}',
  onPremisesSAMAccountName: '{onPremisesSamAccountName}',
}

function evaluate(expression: string, facts: LoginFacts): string | { missing: string } {
  let missing: string | undefined
  const text = expression.replace(placeholder, (_, inside: string) => {
    const [source, ...chain] = inside.split('|') as [Source, ...Operation[]]
    const value = source === 'userPrincipalName' ? facts.userName : facts[source]
    if (value === undefined) missing ??= source
    return chain.reduce((result, operation) => operate[operation](result), value ?? '')
  })
  if (missing !== undefined) return { missing }
  return text === '' ? { missing: expression } : text
}

const operate: Record<Operation, (text: string) => string> = {
  lowercase: toLowercase,
  uppercase: toUppercase,
  username: (text) => text.split('@', 1)[0]!,
  domain: (text) => text.slice(text.indexOf('@') + 1),
}

function expressionProblem(text: string): string | undefined {
  const placeholders = [...text.matchAll(placeholder)]
  if (placeholders.length === 0) return 'must hold at least one {attribute}'
  if (/[{}]/.test(text.replace(placeholder, ''))) return 'holds a { or } without its other half'
  for (const [, inside] of placeholders) {
    const [source, ...chain] = inside!.split('|')
    if (!(sources as readonly string[]).includes(source!))
      return `names {${source}}, which must be one of ${sources.join(', ')}`
    const unknown = chain.find((name) => !(operations as readonly string[]).includes(name))
    if (unknown !== undefined)
      return `holds |${unknown}, which must be one of ${operations.join(', ')}`
  }
  return undefined
}

/**
 * The service principal name for one host, or undefined when the pattern does not cover it.
 *
 * @param internalHost as in the URL that the connector requests, without port
 */
export function toServicePrincipalName(pattern: string, internalHost: string): string | undefined {
  const star = pattern.indexOf('/*.')
  if (star < 0) return pattern
  const suffix = pattern.slice(star + 2)
  const hostSuffix = suffix.replace(/:[0-9]+$/, '').toLowerCase()
  const host = internalHost.toLowerCase()
  const label = host.slice(0, -hostSuffix.length)
  if (!host.endsWith(hostSuffix) || !/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(label))
    return undefined
  return `${pattern.slice(0, star + 1)}${label}${suffix}`
}
