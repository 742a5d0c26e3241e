import { type CompiledApplication, canonicalFieldName } from '@sallyport/domain'
import { toClientCookie } from './cookies.ts'
import { ByFieldName, mayTrail } from './field-names.ts'

/** How URLs of the origin look from outside, for one request. */
export interface Translation {
  compiled: CompiledApplication
  /** `http://host[:port]` of the internal URL, default port left out, wildcard filled. */
  internalOrigin: string
  /** `https://host[:port]` that the client asked for. */
  externalOrigin: string
}

/** Reported by the connector as the first field: connect, first byte and whole time, milliseconds. */
export interface OriginTiming {
  connectMs: number
  firstByteMs: number
  connectorMs: number
}

const timingField = 'sallyport-origin-ms'

type Treatment = 'keep' | 'drop' | 'url' | 'cookie' | 'refresh'

const treatments: ReadonlyMap<string, Treatment> = new Map<string, Treatment>([
  ['connection', 'drop'],
  ['keep-alive', 'drop'],
  ['proxy-authenticate', 'drop'],
  ['proxy-authentication-info', 'drop'],
  ['proxy-connection', 'drop'],
  ['transfer-encoding', 'drop'],
  ['trailer', 'drop'],
  ['upgrade', 'drop'],
  ['te', 'drop'],
  // Would send clients to a port of the origin's choosing, past the gateway (RFC 7838).
  ['alt-svc', 'drop'],
  ['location', 'url'],
  ['content-location', 'url'],
  ['refresh', 'refresh'],
  ['set-cookie', 'cookie'],
  ['set-cookie2', 'drop'],
])

const byName = new ByFieldName<Treatment>((name) => {
  const lower = name.toLowerCase()
  return treatments.get(lower) ?? (lower.startsWith('sallyport-') ? 'drop' : 'keep')
})

/**
 * Rewrites the fields of an origin's answer for the client: nothing of the connection, redirects to the
 * external URL, cookies that stay on the host.
 */
export function toClientFields(fields: readonly string[], translation: Translation): string[] {
  const kept: string[] = []
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    const value = fields[index + 1]!
    const treatment = byName.of(name)
    if (treatment === 'keep') kept.push(name, value)
    else if (treatment === 'url') kept.push(name, toExternalUrl(value, translation))
    else if (treatment === 'refresh')
      kept.push(
        name,
        // Browsers take `5; url=/x`, `5, '/x'` and `5 /x`.
        value.replace(
          /^([\d.]+\s*[;,\s]\s*(?:url\s*=\s*)?["']?)([^"']*)/i,
          (_, before: string, url: string) => before + toExternalUrl(url, translation),
        ),
      )
    else if (treatment === 'cookie') {
      const cookie = toClientCookie(value, translation.compiled)
      if (cookie !== undefined) kept.push(name, cookie)
    }
  }
  return kept
}

/** The same for a 1xx answer, which has no body whose length could be told (RFC 9110 section 8.6). */
export function toInformationalFields(
  fields: readonly string[],
  translation: Translation,
): string[] {
  return toClientFields(fields, translation).filter(
    (_, index, all) => !/^content-length$/i.test(all[index - (index % 2)]!),
  )
}

/** Rewrites what follows an origin's answer: nothing that may stand in a head only, and no redirects or cookies. */
export function toClientTrailers(fields: readonly string[]): string[] {
  const kept: string[] = []
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    if (byName.of(name) === 'keep' && mayTrail(canonicalFieldName(name)))
      kept.push(name, fields[index + 1]!)
  }
  return kept
}

/** Takes the connector's timing out of a response head; it is always its first field. */
export function takeTiming(fields: string[]): OriginTiming | undefined {
  if (fields[0] !== timingField) return undefined
  const parts = /^(\d+(?:\.\d+)?);(\d+(?:\.\d+)?);(\d+(?:\.\d+)?)$/.exec(fields[1]!)
  fields.splice(0, 2)
  return parts
    ? {
        connectMs: Number(parts[1]),
        firstByteMs: Number(parts[2]),
        connectorMs: Number(parts[3]),
      }
    : undefined
}

/**
 * Translates a URL that an origin wrote. URLs elsewhere, and whatever is no URL, stay as they are.
 */
export function toExternalUrl(value: string, translation: Translation): string {
  const { compiled, internalOrigin, externalOrigin } = translation
  const { internalPath, externalPath } = compiled
  // A path alone: relative to the origin's root.
  if (value.startsWith('/') && !value.startsWith('//') && !value.startsWith('/\\'))
    return internalPath === externalPath ? value : replacePath(value, internalPath, externalPath)
  const parts = /^(https?:)?\/\/([^/?#\\]*)(.*)$/is.exec(value)
  if (!parts) return value
  const scheme = (parts[1] ?? compiled.internalProtocol).toLowerCase()
  const authority = parts[2]!.toLowerCase()
  const rest = parts[3] === '' ? '/' : parts[3]!
  const origin = `${scheme}//${authority.replace(scheme === 'https:' ? /:443$/ : /:80$/, '')}`
  if (origin === internalOrigin) {
    const path = replacePath(rest, internalPath, externalPath)
    return path === rest && internalPath !== externalPath ? value : externalOrigin + path
  }
  // An origin that sees the external host but plain HTTP writes http:// or its own port.
  const externalHost = externalOrigin.slice('https://'.length)
  if (authority === externalHost || authority === externalHost.replace(/:\d+$/, ''))
    return externalOrigin + replacePath(rest, internalPath, externalPath)
  return value
}

function replacePath(path: string, internalPath: string, externalPath: string): string {
  if (internalPath === externalPath) return path
  if (path.startsWith(internalPath)) return externalPath + path.slice(internalPath.length)
  return path === internalPath.slice(0, -1) ? externalPath.slice(0, -1) || '/' : path
}
