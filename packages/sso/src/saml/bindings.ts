import { sign, verify, X509Certificate } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { Element } from '@xmldom/xmldom'
import { invalid, unsigned } from './errors.ts'
import type { Binding } from './names.ts'
import {
  hasSignature,
  rsaSha256,
  type SigningKey,
  signatureDigests,
  verifyXml,
} from './signature.ts'
import { parseXml, type Xml } from './xml.ts'

/** A message may take this many bytes of XML, however small it came. */
export const limitMessageBytes = 65_536
const limitRelayStateCharacters = 4_096

/** A message as it came from a browser; nothing in it is to be believed yet. */
export interface ReceivedMessage {
  kind: 'request' | 'response'
  binding: Binding
  xml: string
  root: Element
  /** What the sender wants back, letter by letter. */
  relayState: string | undefined
  /** Of the redirect binding, where the signature is none of the XML's. */
  signature: { algorithm: string; value: Buffer; octets: string } | undefined
}

/**
 * Reads a message of the HTTP Redirect binding (SAML bindings section 3.4).
 *
 * @param query of the URL exactly as it was sent, without its `?`: that is what is signed
 * @throws SamlError `SAML_MESSAGE_INVALID`
 */
export function readRedirect(query: string): ReceivedMessage {
  const raw = splitQuery(query)
  const kind = kindOf((name) => raw.has(name))
  const name = kind === 'request' ? 'SAMLRequest' : 'SAMLResponse'
  const encoding = raw.get('SAMLEncoding')
  if (encoding !== undefined && !decode(encoding).endsWith(':DEFLATE'))
    throw invalid('SAMLEncoding is unknown')
  const [relayState, algorithm, value] = ['RelayState', 'SigAlg', 'Signature'].map((each) =>
    raw.get(each),
  )
  if ((algorithm === undefined) !== (value === undefined))
    throw invalid('SigAlg and Signature go together')
  const text = inflate(fromBase64(decode(raw.get(name)!)))
  const root = parseXml(text)
  // Section 3.4.4.1: it has to be removed from the message, and so nobody is to believe it.
  if (hasSignature(root)) throw invalid('a message in a URL must not hold a signature of its own')
  // Only what there is, in this order, as it was written.
  const signed = [name, 'RelayState', 'SigAlg'].filter((each) => raw.has(each))
  return {
    kind,
    binding: 'redirect',
    xml: text,
    root,
    relayState: toRelayState(relayState === undefined ? undefined : decode(relayState)),
    signature:
      algorithm === undefined
        ? undefined
        : {
            algorithm: decode(algorithm),
            value: fromBase64(decode(value!)),
            octets: signed.map((each) => `${each}=${raw.get(each)}`).join('&'),
          },
  }
}

/**
 * Reads a message of the HTTP POST binding (SAML bindings section 3.5).
 *
 * @throws SamlError `SAML_MESSAGE_INVALID`
 */
export function readPost(form: URLSearchParams): ReceivedMessage {
  for (const name of ['SAMLRequest', 'SAMLResponse', 'RelayState'])
    if (form.getAll(name).length > 1) throw invalid(`${name} is there twice`)
  const kind = kindOf((name) => form.has(name))
  const bytes = fromBase64(form.get(kind === 'request' ? 'SAMLRequest' : 'SAMLResponse')!)
  if (bytes.length > limitMessageBytes) throw invalid('the message is too large')
  const text = toText(bytes)
  return {
    kind,
    binding: 'post',
    xml: text,
    root: parseXml(text),
    relayState: toRelayState(form.get('RelayState') ?? undefined),
    signature: undefined,
  }
}

/**
 * The message as its sender has signed it. An unsigned one is only believed where that is said to be right; a wrong
 * signature never is.
 *
 * @param certificates of the sender, PEM; none: signatures cannot be checked
 * @throws SamlError `SAML_SIGNATURE_INVALID`
 */
export function verifyMessage(
  message: ReceivedMessage,
  certificates: readonly string[],
  required: boolean,
): Element {
  const { root, signature } = message
  const isSigned = message.binding === 'redirect' ? signature !== undefined : hasSignature(root)
  if (certificates.length === 0) {
    if (required) throw unsigned('no certificate of the application is known')
    return root
  }
  if (!isSigned) {
    if (required) throw unsigned('the message is not signed')
    return root
  }
  if (!signature) return verifyXml(message.xml, root, certificates)
  const digest = signatureDigests.get(signature.algorithm)
  if (digest === undefined)
    throw unsigned(`the signature algorithm ${signature.algorithm.slice(0, 100)} is not accepted`)
  const octets = Buffer.from(signature.octets, 'latin1')
  const byOne = certificates.some((pem) =>
    verify(digest, octets, new X509Certificate(pem).publicKey, signature.value),
  )
  if (!byOne) throw unsigned('the signature is not by a key of the application')
  return root
}

/** The URL that carries a message of ours, signed (SAML bindings section 3.4.4.1). */
export function toRedirectUrl(
  destination: string,
  kind: 'request' | 'response',
  message: Xml,
  relayState: string | undefined,
  key: SigningKey,
): string {
  const name = kind === 'request' ? 'SAMLRequest' : 'SAMLResponse'
  const body = deflateRawSync(Buffer.from(message.text, 'utf8')).toString('base64')
  const parameters = [
    [name, body],
    ...(relayState === undefined ? [] : [['RelayState', relayState]]),
    ['SigAlg', rsaSha256],
  ]
  const octets = parameters.map(([each, value]) => `${each}=${toQueryValue(value!)}`).join('&')
  const value = sign('sha256', Buffer.from(octets), key.privateKey).toString('base64')
  const joint = destination.includes('?') ? '&' : '?'
  return `${destination}${joint}${octets}&Signature=${toQueryValue(value)}`
}

/** As browsers leave it: in a query they encode an apostrophe, and what is signed is what arrives. */
function toQueryValue(text: string): string {
  return encodeURIComponent(text).replaceAll("'", '%27')
}

function kindOf(has: (name: string) => boolean): 'request' | 'response' {
  const [request, response] = [has('SAMLRequest'), has('SAMLResponse')]
  if (request === response) throw invalid('there must be either a SAMLRequest or a SAMLResponse')
  return request ? 'request' : 'response'
}

/** Parameters by name, their values as they were written. */
function splitQuery(query: string): Map<string, string> {
  const raw = new Map<string, string>()
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=')
    const name = decode(equals < 0 ? pair : pair.slice(0, equals))
    // Two of a name: one would be verified, and another one read.
    if (raw.has(name)) throw invalid(`${name.slice(0, 32)} is there twice`)
    raw.set(name, equals < 0 ? '' : pair.slice(equals + 1))
  }
  return raw
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (cause) {
    throw invalid('the URL is not encoded as it must be', { cause })
  }
}

function fromBase64(text: string): Buffer {
  // Some break lines (RFC 2045), and a plus that was not encoded has become a blank.
  const compact = text.replace(/[\r\n\t ]/g, (blank) => (blank === ' ' ? '+' : ''))
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(compact)) throw invalid('the message is no base64')
  return Buffer.from(compact, 'base64')
}

function inflate(bytes: Buffer): string {
  try {
    return toText(inflateRawSync(bytes, { maxOutputLength: limitMessageBytes }))
  } catch (cause) {
    throw invalid('the message cannot be inflated, or is too large', { cause })
  }
}

function toText(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw invalid('the message is no UTF-8', { cause })
  }
}

function toRelayState(text: string | undefined): string | undefined {
  if (text !== undefined && text.length > limitRelayStateCharacters)
    throw invalid(`RelayState has more than ${limitRelayStateCharacters} characters`)
  return text
}
