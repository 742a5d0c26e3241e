import { type FieldList, findField, joinLines, listsToken } from '@sallyport/http1'

type Treatment = 'keep' | 'drop' | 'upgrade' | 'authorization' | 'challenge'

/**
 * Fields of one connection (RFC 9110 section 7.6.1), and our own. Framing is rewritten by the
 * codec.
 */
const common: Record<string, Treatment> = {
  connection: 'drop',
  'keep-alive': 'drop',
  'proxy-connection': 'drop',
  te: 'drop',
  trailer: 'drop',
  'transfer-encoding': 'drop',
  // RFC 9113 section 3.1 took the upgrade to h2c away; a proxy that passes it on loses sight of
  // what follows.
  'http2-settings': 'drop',
  'sallyport-origin-ms': 'drop',
}
const ofRequests: Record<string, Treatment> = {
  ...common,
  upgrade: 'upgrade',
  'proxy-authorization': 'drop',
  authorization: 'authorization',
}
const ofResponses: Record<string, Treatment> = {
  ...common,
  upgrade: 'drop',
  'proxy-authenticate': 'drop',
  'proxy-authentication-info': 'drop',
  'www-authenticate': 'challenge',
  'persistent-auth': 'challenge',
}
/**
 * RFC 9110 section 6.5.1: what frames, routes or authenticates a message is not taken from its end.
 */
const ofTrailers: Record<string, Treatment> = {
  ...ofRequests,
  ...ofResponses,
  authorization: 'drop',
  'www-authenticate': 'drop',
  host: 'drop',
  'content-length': 'drop',
  'content-type': 'drop',
  'content-encoding': 'drop',
  'content-range': 'drop',
  cookie: 'drop',
  'set-cookie': 'drop',
  expect: 'drop',
}

const limitNames = 2_048
const limitNameBytes = 64

/** Remembers what becomes of a name by how it was spelt: names repeat endlessly. */
class Treatments {
  readonly #byLowerCase: Record<string, Treatment>
  readonly #known = new Map<string, Treatment>()

  constructor(byLowerCase: Record<string, Treatment>) {
    this.#byLowerCase = byLowerCase
  }

  of(name: string): Treatment {
    const known = this.#known.get(name)
    if (known) return known
    const lower = name.toLowerCase()
    const treatment = Object.hasOwn(this.#byLowerCase, lower) ? this.#byLowerCase[lower]! : 'keep'
    // Others choose the names: neither their number nor their length makes the memory grow.
    if (name.length > limitNameBytes) return treatment
    if (this.#known.size >= limitNames) this.#known.clear()
    // A copy: what was cut out of a head keeps all of the head in memory.
    this.#known.set(Buffer.from(name, 'latin1').toString('latin1'), treatment)
    return treatment
  }
}
const requestTreatments = new Treatments(ofRequests)
const responseTreatments = new Treatments(ofResponses)
const trailerTreatments = new Treatments(ofTrailers)

/**
 * Schemes that authenticate the connection instead of the request (RFC 4559 section 4, MS-NTHT).
 */
const connectionSchemes = /(?:^|,)\s*(?:ntlm|negotiate|nego2|kerberos)(?:\s|,|$)/i

export interface RequestFacts {
  /** Without what must not reach the origin. */
  fields: FieldList
  /** The value of `Upgrade` without h2c; undefined when nothing is left. */
  upgrade: string | undefined
  /** The connection becomes this user's. */
  authenticatesConnection: boolean
}

/** Leaves out what must not reach the origin. @param fields not changed */
export function filterRequestFields(fields: FieldList): RequestFacts {
  const kept: FieldList = []
  let upgrade: string | undefined
  let authenticatesConnection = false
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    const value = fields[index + 1]!
    const treatment = requestTreatments.of(name)
    if (treatment === 'drop') continue
    if (treatment === 'upgrade') {
      upgrade = upgrade === undefined ? value : `${upgrade}, ${value}`
      continue
    }
    if (treatment === 'authorization' && connectionSchemes.test(value))
      authenticatesConnection = true
    kept.push(name, value)
  }
  return {
    fields: kept,
    upgrade: upgrade === undefined ? undefined : withoutHttp2(upgrade),
    authenticatesConnection,
  }
}

function withoutHttp2(upgrade: string): string | undefined {
  const protocols = upgrade
    .split(',')
    .map((protocol) => protocol.trim())
    .filter((protocol) => /^[\w!#$%&'*+.^`|~-]+(?:\/[\w!#$%&'*+.^`|~-]+)?$/.test(protocol))
    .filter((protocol) => !/^(?:h2c?|http|tls)(?:\/|$)/i.test(protocol))
  return protocols.length > 0 ? protocols.join(', ') : undefined
}

/**
 * Whether a 101 chose one of the protocols that were asked for (RFC 9110 section 7.8).
 *
 * @param asked the value of `Upgrade` as it was sent
 */
export function isAskedUpgrade(fields: FieldList, asked: string): boolean {
  const chosen = findField(fields, 'upgrade')?.trim().toLowerCase()
  return (
    chosen !== undefined &&
    listsToken(fields, 'connection', 'upgrade') &&
    asked
      .toLowerCase()
      .split(', ')
      .some((protocol) => protocol === chosen)
  )
}

export interface ResponseFacts {
  /** Field lines for the gateway, each with its CRLF in front. */
  lines: string
  /** The origin ties, or offers to tie, a user to the connection. */
  authenticatesConnection: boolean
}

/**
 * Leaves out what is for one connection only. The codec has checked the form of the fields.
 *
 * @param upgraded for a 101, which keeps its `Connection` and `Upgrade`
 * @param isOwn whether a field was for us, and is for nobody else
 */
export function toResponseFacts(
  fields: FieldList,
  upgraded: boolean,
  isOwn?: (name: string, value: string) => boolean,
): ResponseFacts {
  const lines: string[] = []
  let authenticates = false
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    const value = fields[index + 1]!
    const treatment = responseTreatments.of(name)
    if (treatment === 'drop' || isOwn?.(name, value)) continue
    if (treatment === 'challenge' && authenticatesConnection(value)) authenticates = true
    lines.push(`\r\n${name}: ${value}`)
  }
  if (upgraded) lines.push(`\r\nConnection: Upgrade\r\nUpgrade: ${findField(fields, 'upgrade')}`)
  return { lines: joinLines(lines), authenticatesConnection: authenticates }
}

/** `Persistent-Auth: true` is IIS saying that the connection stays authenticated. */
function authenticatesConnection(value: string): boolean {
  return connectionSchemes.test(value) || value.trim().toLowerCase() === 'true'
}

/** What may follow a body. */
export function filterTrailers(fields: FieldList): FieldList {
  const kept: FieldList = []
  for (let index = 0; index < fields.length; index += 2)
    if (trailerTreatments.of(fields[index]!) === 'keep')
      kept.push(fields[index]!, fields[index + 1]!)
  return kept
}
