import { DerError, type Element, Fields, parseElements, Tag, toInteger, toText } from './der.ts'
import { field, integer, sequence, text } from './der-writer.ts'
import { KerberosError } from './errors.ts'

/** RFC 4120 section 6.2, RFC 6806 section 5. */
export const NameType = { PRINCIPAL: 1, SRV_INST: 2, ENTERPRISE: 10 } as const

export interface PrincipalName {
  type: number
  /** Never joined and split again: a slash in one is not a border. */
  components: readonly string[]
}

export interface Principal extends PrincipalName {
  realm: string
}

/** One KerberosString of a name is not longer than this. */
const maxBytes = 256

/**
 * A user whom the connector may stand for.
 *
 * - `principal`: `name` is the sAMAccountName, spelt as in the directory; it is the name that the application sees
 * - `enterprise`: `name` is a userPrincipalName; the directory tells its sAMAccountName, at the cost of one exchange
 */
export interface UserName {
  type: 'principal' | 'enterprise'
  name: string
  /** The realm to ask first; without it that of the connector's account. */
  realm?: string | undefined
}

/**
 * @returns the name to send, with its realm
 * @throws KerberosError `KERBEROS_NAME_INVALID` for whatever a directory could take for another name
 */
export function parseUser(user: UserName, defaultRealm: string): Principal {
  const { type, name } = user
  const refuse = (why: string): never => {
    const shown = JSON.stringify(name)
    throw new KerberosError('KERBEROS_NAME_INVALID', `the user name ${shown} ${why}`, {
      stage: 'local',
      user: name,
    })
  }
  if (name === '') refuse('is empty')
  if (Buffer.byteLength(name) > maxBytes) refuse(`is longer than ${maxBytes} bytes`)
  if (!name.isWellFormed()) refuse('is not Unicode')
  // Directories compare without regard to width, ligatures and invisible characters: such a name means another one.
  if (/[\p{C}\p{Zl}\p{Zp}]/u.test(name)) refuse('has a control or invisible character')
  if (name.normalize('NFKC') !== name) refuse('is not in the normal form NFKC')
  if (name !== name.trim()) refuse('begins or ends with a space')
  if (type === 'principal') {
    // What a sAMAccountName may not hold (MS-SAMR section 3.1.1.6), `@` and `,` beside.
    const forbidden = /["/\\[\]:;|=,+*?<>@]/.exec(name)
    if (forbidden) refuse(`has ${JSON.stringify(forbidden[0])}, which no sAMAccountName has`)
  } else if (!/^[^@/\\"]+@[^@/\\"\s]+$/.test(name)) {
    refuse('is not of the form name@suffix')
  }
  const realm = parseRealm(user.realm ?? defaultRealm)
  const nameType = type === 'principal' ? NameType.PRINCIPAL : NameType.ENTERPRISE
  return { type: nameType, components: [name], realm }
}

/** A realm of the domain style, in capitals. @throws KerberosError `KERBEROS_NAME_INVALID` */
export function parseRealm(realm: string): string {
  if (/^[A-Z0-9_-]+(\.[A-Z0-9_-]+)*$/.test(realm) && realm.length <= 255) return realm
  throw new KerberosError(
    'KERBEROS_NAME_INVALID',
    `${JSON.stringify(realm)} is no realm: CORP.EXAMPLE, in capitals`,
    { stage: 'local', realm },
  )
}

/** `HTTP/app.corp.example`. @throws KerberosError `KERBEROS_NAME_INVALID` */
export function parseSpn(spn: string): PrincipalName {
  const match =
    /^([A-Za-z][A-Za-z0-9-]{0,31})\/([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::(\d{1,5}))?$/.exec(spn)
  if (match && spn.length <= maxBytes && match[1]!.toLowerCase() !== 'krbtgt') {
    return { type: NameType.SRV_INST, components: spn.split('/') }
  }
  throw new KerberosError(
    'KERBEROS_NAME_INVALID',
    `${JSON.stringify(spn)} is no service principal name: HTTP/app.corp.example, without realm`,
    { stage: 'local', spn },
  )
}

/** The connector's account: `svc-connector@CORP.EXAMPLE`, `CONN01$@CORP.EXAMPLE`. */
export function parsePrincipal(principal: string): Principal {
  const at = principal.indexOf('@')
  const name = principal.slice(0, at)
  if (at < 1 || !/^[^\p{C}@\\]+$/u.test(name) || name.split('/').includes('')) {
    throw new KerberosError(
      'KERBEROS_NAME_INVALID',
      `${JSON.stringify(principal)} is no account: name@CORP.EXAMPLE`,
      { stage: 'local', account: principal },
    )
  }
  const realm = parseRealm(principal.slice(at + 1))
  return { type: NameType.PRINCIPAL, components: name.split('/'), realm }
}

/** For messages: `/`, `@` and `\` inside of a component are escaped (RFC 1964 section 2.1.1). */
export function formatName({ components }: PrincipalName): string {
  return components.map((part) => part.replace(/[/@\\]/g, '\\$&')).join('/')
}

export function formatPrincipal(principal: Principal): string {
  return `${formatName(principal)}@${principal.realm}`
}

export function sameName(a: PrincipalName, b: PrincipalName): boolean {
  return (
    a.components.length === b.components.length &&
    a.components.every((part, at) => part === b.components[at])
  )
}

export function samePrincipal(a: Principal, b: Principal): boolean {
  return a.realm === b.realm && sameName(a, b)
}

/** Service names are compared without regard to case by Active Directory. */
export function sameService(a: PrincipalName, b: PrincipalName): boolean {
  const lower = ({ components, type }: PrincipalName) => ({
    type,
    components: components.map((part) => part.toLowerCase()),
  })
  return sameName(lower(a), lower(b))
}

/** The ticket-granting service of `target`. */
export function toKrbtgt(target: string, realm = target): Principal {
  return { type: NameType.SRV_INST, components: ['krbtgt', target], realm }
}

/** The realm that a ticket-granting ticket is for; undefined for another ticket. */
export function findTargetRealm({ components }: PrincipalName): string | undefined {
  return components.length === 2 && components[0] === 'krbtgt' ? components[1] : undefined
}

export function writeName({ type, components }: PrincipalName): Buffer {
  return sequence(field(0, integer(type)), field(1, sequence(...components.map(text))))
}

export function readName(element: Element): PrincipalName {
  const fields = new Fields(element, 'PrincipalName')
  const names = fields.get(1)
  if (names.tag !== Tag.SEQUENCE) throw new DerError('PrincipalName: no list')
  const components = parseElements(names.content).map(toText)
  if (components.length === 0 || components.length > 10) {
    throw new DerError(`PrincipalName of ${components.length} components`)
  }
  return { type: toInteger(fields.get(0)), components }
}
