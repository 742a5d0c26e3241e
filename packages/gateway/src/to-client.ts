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

const timingField = 'sallyport-origin-ms: '

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

/**
 * Reads the connector's timing, which is the first field of a response head.
 *
 * @param text of the head
 * @returns where the origin's own fields begin, at their CRLF; undefined when there is no timing that can be read
 */
export function readTiming(text: string): (OriginTiming & { end: number }) | undefined {
  const at = text.indexOf('\r\n') + 2
  if (at < 2 || !text.startsWith(timingField, at)) return undefined
  const lineEnd = text.indexOf('\r\n', at)
  const end = lineEnd < 0 ? text.length : lineEnd
  const connect = text.indexOf(';', at + timingField.length)
  const firstByte = text.indexOf(';', connect + 1)
  if (connect < 0 || firstByte < 0 || firstByte >= end) return undefined
  const connectMs = parseMs(text, at + timingField.length, connect)
  const firstByteMs = parseMs(text, connect + 1, firstByte)
  const connectorMs = parseMs(text, firstByte + 1, end)
  return connectMs >= 0 && firstByteMs >= 0 && connectorMs >= 0
    ? { connectMs, firstByteMs, connectorMs, end }
    : undefined
}

/** Digits, and perhaps a point and one more digit. @returns -1 for anything else */
function parseMs(text: string, start: number, end: number): number {
  const whole = text.charCodeAt(end - 2) === 0x2e && end - start > 2 ? end - 2 : end
  if (whole === start || whole - start > 12) return -1
  let value = 0
  for (let at = start; at < whole; at += 1) {
    const digit = text.charCodeAt(at) - 0x30
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  if (whole === end) return value
  const tenths = text.charCodeAt(end - 1) - 0x30
  return tenths < 0 || tenths > 9 ? -1 : (value * 10 + tenths) / 10
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
