import { canonicalFieldName, type Snapshot } from '@sallyport/domain'
import { joinLines } from '@sallyport/http1'
import { parseForwardedFor } from './addresses.ts'
import { withoutOurCookies } from './cookies.ts'
import { ByFieldName, mayTrail } from './field-names.ts'

/** What happens to a field that a client sent. */
type Treatment = 'keep' | 'drop' | 'cookie' | 'forwarded-for'

// Fields of one connection (RFC 9110 section 7.6.1), fields that we write ourselves, and fields by which
// clients have claimed an address, a host or another URL for themselves.
const treatments: ReadonlyMap<string, Treatment> = new Map<string, Treatment>([
  ['connection', 'drop'],
  ['cookie', 'cookie'],
  ['x-forwarded-for', 'forwarded-for'],
  ...[
    'cookie2',
    'expect',
    'upgrade',
    'keep-alive',
    'proxy-authenticate',
    'proxy-authentication-info',
    'proxy-authorization',
    'proxy-connection',
    'te',
    'trailer',
    'transfer-encoding',
    'content-length',
    'host',
    'http2-settings',
    // CGI makes HTTP_PROXY of it, which HTTP clients in origins obey (CVE-2016-5385).
    'proxy',
    'forwarded',
    'x-forwarded',
    'x-real-ip',
    'true-client-ip',
    'cf-connecting-ip',
    'cf-connecting-ipv6',
    'fastly-client-ip',
    'client-ip',
    'x-client-ip',
    'x-cluster-client-ip',
    'x-remote-ip',
    'x-remote-addr',
    'x-originating-ip',
    'x-proxyuser-ip',
    'proxy-client-ip',
    'wl-proxy-client-ip',
    'x-original-url',
    'x-original-uri',
    'x-original-method',
    'x-original-host',
    'x-rewrite-url',
    'x-host',
    'x-http-host-override',
    'x-url-scheme',
    'x-scheme',
    'front-end-https',
  ].map((name): [string, Treatment] => [name, 'drop']),
])

// Fields whose absence would change what the origin trusts or how the message is framed; naming them in
// Connection does not remove them (attack 19).
const neverNominated: ReadonlySet<string> = new Set([
  'authorization',
  'cookie',
  'host',
  'content-length',
  'content-type',
])

/** Knows for each field name of a client what becomes of it. */
export class FieldFilter {
  readonly #identityHeaders: ReadonlySet<string>
  readonly #ownFields: ReadonlySet<string>
  readonly #head = new ByFieldName((name) => this.#classify(name))

  /** @param ownFields lower case; dropped too */
  constructor(
    snapshot: Pick<Snapshot, 'identityHeaders'>,
    ownFields: ReadonlySet<string> = new Set(),
  ) {
    this.#identityHeaders = snapshot.identityHeaders
    this.#ownFields = ownFields
  }

  treatmentOf(name: string): Treatment {
    return this.#head.of(name)
  }

  #classify(name: string): Treatment {
    const lower = name.toLowerCase()
    // `X_Forwarded_For` is another field to us and the same one to a CGI origin.
    const canonical = canonicalFieldName(name)
    if (this.#identityHeaders.has(canonical) || this.#ownFields.has(canonical)) return 'drop'
    const treatment = treatments.get(canonical)
    if (treatment) return canonical === lower ? treatment : 'drop'
    return canonical.startsWith('sallyport-') || canonical.startsWith('x-forwarded-')
      ? 'drop'
      : 'keep'
  }

  /** Removes from trailers whatever would be removed from the head, and what may stand only there. */
  trailers(fields: readonly string[]): string[] {
    const kept: string[] = []
    for (let index = 0; index < fields.length; index += 2) {
      const name = fields[index]!
      if (this.treatmentOf(name) === 'keep' && mayTrail(canonicalFieldName(name)))
        kept.push(name, fields[index + 1]!)
    }
    return kept
  }
}

/** The fields that say for whom we forward. The same for many requests of a connection, so made once for them. */
export interface ForwardedLines {
  /** `X-Forwarded-For` with the client's address alone. */
  readonly forwardedFor: string
  /** All others. */
  readonly others: string
}

/** @param externalHost host, with its port unless 443, that the client asked for */
export function toForwardedLines(
  externalHost: string,
  externalPort: number,
  clientAddress: string,
): ForwardedLines {
  return {
    forwardedFor: `\r\nX-Forwarded-For: ${clientAddress}`,
    others:
      `\r\nX-Forwarded-Host: ${externalHost}\r\nX-Forwarded-Proto: https` +
      `\r\nX-Forwarded-Port: ${externalPort}\r\nX-Real-IP: ${clientAddress}` +
      `\r\nForwarded: for=${forwardedNode(clientAddress)};host="${externalHost}";proto=https`,
  }
}

export interface OriginRequest {
  /** The client's fields. */
  fields: readonly string[]
  /** `Host` for the origin. */
  host: string
  forwarded: ForwardedLines
  /** Address of the connection's other end. */
  peerAddress: string
  forwardedFor: 'append' | 'replace'
  /** `Content-Length` or `Transfer-Encoding` line with its CRLF, or the empty string. */
  framingLine: string
  /** Whether the connection shall become a WebSocket. */
  upgrade: boolean
  expectContinue: boolean
  /** The connector says who the person is, and nobody else. */
  dropsAuthorization: boolean
  /** Fields of sign-on, each with a CRLF in front. */
  signOnLines: string
  /** The assertion's field with a CRLF in front, or the empty string. */
  assertionLine: string
}

/**
 * Writes the fields of the request as the origin shall see them. The order is the security argument: the client's fields
 * without any that we or a proxy would be believed for, then ours.
 *
 * @returns field lines, each with a CRLF in front
 */
export function toOriginLines(request: OriginRequest, filter: FieldFilter): string {
  const { fields, forwarded } = request
  const nominated = nominatedFields(fields)
  const lines = [`\r\nHost: ${request.host}`]
  let cookies = ''
  let sentList: string[] | undefined
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    const treatment = filter.treatmentOf(name)
    if (treatment === 'keep') {
      if (nominated?.has(name.toLowerCase())) continue
      if (request.dropsAuthorization && canonicalFieldName(name) === 'authorization') continue
      lines.push(`\r\n${name}: ${fields[index + 1]}`)
    } else if (treatment === 'cookie') {
      const kept = withoutOurCookies(fields[index + 1]!)
      if (kept !== '') cookies += cookies === '' ? kept : `; ${kept}`
    } else if (treatment === 'forwarded-for') {
      sentList ??= []
      sentList.push(fields[index + 1]!)
    }
  }
  // One Cookie field (RFC 6265 section 5.4), whatever HTTP version it came by.
  if (cookies !== '') lines.push(`\r\nCookie: ${cookies}`)
  lines.push(request.framingLine)
  if (request.expectContinue) lines.push('\r\nExpect: 100-continue')
  if (request.upgrade) lines.push('\r\nConnection: Upgrade\r\nUpgrade: websocket')
  const list =
    sentList && request.forwardedFor === 'append' ? parseForwardedFor(sentList) : undefined
  lines.push(
    list
      ? `\r\nX-Forwarded-For: ${list.join(', ')}, ${request.peerAddress}`
      : forwarded.forwardedFor,
    forwarded.others,
    request.signOnLines,
    request.assertionLine,
  )
  return joinLines(lines)
}

/** RFC 7239 section 6: IPv6 in brackets and quotes. */
function forwardedNode(address: string): string {
  return address.includes(':') ? `"[${address}]"` : address
}

function nominatedFields(fields: readonly string[]): Set<string> | undefined {
  let names: Set<string> | undefined
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue
    const value = fields[index + 1]!
    if (value === 'keep-alive' || value === 'close') continue
    names ??= new Set()
    for (const token of value.toLowerCase().split(',')) {
      const trimmed = token.trim()
      if (!neverNominated.has(trimmed)) names.add(trimmed)
    }
  }
  return names
}

/** Length of the correlation ID, the ID, the instruction, and a line for the assertion; each byte one latin1 character. */
export function toOpenText(id: string, instruction: string, assertion: string): string {
  const text = String.fromCharCode(id.length) + id + instruction
  return assertion === '' ? text : `${text}\n${assertion}`
}
