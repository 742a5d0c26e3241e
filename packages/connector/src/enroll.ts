import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { connect, type DetailedPeerCertificate } from 'node:tls'
import { readSealingKey } from '@sallyport/sso/password'
import { parseAllowRules } from './allow-list.ts'
import { checkIssued, readBundle } from './certificate.ts'
import { type Resolve, resolveName } from './dial.ts'
import { ConnectorError } from './errors.ts'
import {
  dialPlain,
  dialService,
  enrolmentProtocol,
  hostAndPort,
  notPinned,
  type ServiceRoute,
  serviceDialTimeoutMs,
  toServiceError,
} from './service-connection.ts'
import { postJson, readText } from './service-request.ts'
import {
  isEnrolled,
  prepareStateDir,
  readAuthorities,
  readSealingKeyPem,
  writeState,
} from './state.ts'

export interface EnrolOptions {
  /** `https://connect.<base domain>[:port]`. */
  service: URL
  /**
   * `sp1.<secret>.<fingerprint of the connector CA>`; single use. Never from argv: see
   * `--token-file`.
   */
  token: string
  stateDir: string
  /** What administrators see; default: the machine's name. */
  name?: string
  /** HTTP proxy towards the service; remembered for `run`. */
  proxy?: URL
  /** Rules of the allow-list; checked before the token is spent. */
  allow: readonly string[]
  /** HTTP proxy towards origins; remembered for `run`. */
  originProxy?: URL
  /**
   * Absolute path of a PEM file: a private CA that origins' certificates come from. Read at each
   * start.
   */
  originCaFile?: string
  resolve?: Resolve
}

export interface Enrolment {
  connectorId: string
  connectorGroup: string
  /** Of the key that passwords are sealed to, for an administrator to compare. */
  sealingKeyFingerprint: string
}

/**
 * Makes a key that never leaves this machine, proves the right to join with the one-time token, and
 * stores the identity.
 *
 * @throws ConnectorError `TOKEN_INVALID`, `ALLOW_RULE_INVALID`, `ALREADY_ENROLLED`, and those of
 *   `dialService` and `postJson`; nothing is stored then
 */
export async function enroll(options: EnrolOptions): Promise<Enrolment> {
  const { service, stateDir, allow } = options
  const token = parseToken(options.token)
  parseAllowRules(allow)
  if (options.originCaFile !== undefined) readAuthorities(options.originCaFile)
  if (service.protocol !== 'https:')
    throw new ConnectorError('SERVICE_UNREACHABLE', 'the service must be an https:// URL')
  if (isEnrolled(stateDir))
    throw new ConnectorError(
      'ALREADY_ENROLLED',
      `${stateDir} holds the identity of an enrolled connector; use another directory`,
    )
  prepareStateDir(stateDir)
  const route: ServiceRoute = {
    service,
    proxy: options.proxy,
    resolve: options.resolve ?? resolveName,
  }
  const ca = await fetchPinnedCa(route, token.fingerprint)
  // Loaded here: a running connector has no use for the certificate library until it renews.
  const { createSigningRequest, generateKey } = await import('./csr.ts')
  const keyPem = generateKey()
  const name = options.name ?? defaultName()
  const socket = await dialService(
    route,
    { protocol: enrolmentProtocol, ca },
    new AbortController().signal,
  )
  const answer = await postJson(socket, service.host, '/v1/enroll', {
    token: token.text,
    csr: await createSigningRequest(keyPem),
    name,
    instanceId: randomUUID(),
  })
  const certificatePem = readText(answer, 'certificate')
  const caPem = readBundle(answer, ca)
  checkIssued(certificatePem, keyPem, caPem)
  const enrolment = {
    connectorId: readText(answer, 'connectorId'),
    connectorGroup: readText(answer, 'connectorGroup'),
  }
  writeState(stateDir, {
    keyPem,
    certificatePem,
    caPem,
    settings: {
      service: service.origin,
      ...enrolment,
      name,
      allow: [...allow],
      ...(options.proxy ? { proxy: options.proxy.href } : {}),
      ...(options.originProxy ? { originProxy: options.originProxy.href } : {}),
      ...(options.originCaFile === undefined ? {} : { originCaFile: options.originCaFile }),
    },
  })
  return {
    ...enrolment,
    sealingKeyFingerprint: readSealingKey(readSealingKeyPem(stateDir)).fingerprint,
  }
}

/** The machine's name in the characters that the service takes for a connector's. */
function defaultName(): string {
  return (
    hostname()
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '')
      .slice(0, 63) || 'connector'
  )
}

interface Token {
  text: string
  /** SHA-256 of the CA certificate's DER. */
  fingerprint: Buffer
}

function parseToken(text: string): Token {
  const trimmed = text.trim()
  const [, fingerprint] = /^sp1\.[A-Za-z0-9_-]{43}\.([A-Za-z0-9_-]{43})$/.exec(trimmed) ?? []
  // The token itself is a secret and stays out of the message.
  if (fingerprint === undefined)
    throw new ConnectorError(
      'TOKEN_INVALID',
      'the enrolment token must be sp1.<secret>.<fingerprint>, as `token create` printed it',
    )
  return { text: trimmed, fingerprint: Buffer.from(fingerprint, 'base64url') }
}

/**
 * Finds the CA whose fingerprint is part of the token among the certificates that the service
 * shows. Nothing is sent over this connection: the next one, which carries the token, trusts that
 * CA and no other.
 *
 * @returns PEM
 */
async function fetchPinnedCa(route: ServiceRoute, fingerprint: Buffer): Promise<string> {
  const { service } = route
  const { host } = hostAndPort(service)
  const signal = AbortSignal.timeout(serviceDialTimeoutMs)
  const tooLate = (cause: unknown) =>
    new ConnectorError('SERVICE_TIMEOUT', `${service.host} did not answer in time`, { cause })
  const plain = await dialPlain(route, signal).catch((error: unknown) => {
    throw signal.aborted ? tooLate(error) : error
  })
  return new Promise((resolve, reject) => {
    const socket = connect({
      socket: plain,
      host,
      servername: isIP(host) ? '' : host,
      minVersion: 'TLSv1.3',
      ALPNProtocols: [enrolmentProtocol],
      rejectUnauthorized: false,
    })
    const finish = (outcome: string | Error) => {
      signal.removeEventListener('abort', onAbort)
      socket.removeAllListeners()
      socket.on('error', () => socket.destroy())
      socket.destroy()
      if (outcome instanceof Error) reject(outcome)
      else resolve(outcome)
    }
    const onAbort = () => finish(tooLate(signal.reason))
    signal.addEventListener('abort', onAbort)
    socket.once('error', (error) => finish(toServiceError(error, service)))
    socket.once('close', () =>
      finish(
        new ConnectorError(
          'SERVICE_PROTOCOL_MISMATCH',
          `${service.host} closed the connection during the TLS handshake`,
        ),
      ),
    )
    socket.once('secureConnect', () => {
      let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
      const seen = new Set<DetailedPeerCertificate>()
      while (certificate?.raw && !seen.has(certificate)) {
        const digest = createHash('sha256').update(certificate.raw).digest()
        if (timingSafeEqual(digest, fingerprint)) return finish(toPem(certificate.raw))
        seen.add(certificate)
        certificate = certificate.issuerCertificate
      }
      return finish(notPinned(socket, service, 'no certificate has the fingerprint of the token'))
    })
  })
}

function toPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
