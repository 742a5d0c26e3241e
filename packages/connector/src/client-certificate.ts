import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { ResetCode } from '@sallyport/protocol'
import { isWithin } from './address.ts'
import { type AllowRule, matchesName, parseAllowRules } from './allow-list.ts'
import type { Destination } from './destination.ts'
import { ConnectorError, type ConnectorErrorCode, findErrorCode, toError } from './errors.ts'
import { OriginFailure } from './failure.ts'
import type { Log } from './log.ts'

/**
 * A certificate that the connector shows to origins that ask for one; an entry of `originClientCertificates` in
 * `connector.json`. It says which connector asks, and never on whose behalf.
 */
export interface ClientCertificateSettings {
  /** IDs of the applications that it is for; the requests of no others are sent with it. */
  applications: readonly string[]
  /** Origins that it is shown to, as rules of the allow-list: `hr.internal:8443`, `*.corp.example:443`. */
  origins: readonly string[]
  /** Absolute path: PEM, the certificate first, then its intermediates. */
  certificateFile: string
  /** Absolute path: PEM; nobody but the connector's user may read it. */
  keyFile: string
  /** Absolute path of a file whose first line opens the key. */
  passphraseFile?: string
  /** For origins that ask for a certificate at some paths only: see `docs/connector.md`. */
  maxTlsVersion?: '1.2' | '1.3'
}

/** What the files held when they were read last; another object after each change. */
export interface ClientCertificate {
  readonly context: SecureContextOptions
  readonly subject: string
  readonly serial: string
  readonly notBeforeAt: number
  readonly notAfterAt: number
}

/** One entry, as `status` shows it. Instants are epoch milliseconds. */
export interface ClientCertificateStatus {
  applications: readonly string[]
  origins: readonly string[]
  certificateFile: string
  /** Of what is shown to origins; absent while nothing can be. */
  subject?: string
  serial?: string
  notAfterAt?: number
  /** Why what is in the files cannot be used. */
  problem?: { code: string; message: string }
}

const known = [
  'applications',
  'origins',
  'certificateFile',
  'keyFile',
  'passphraseFile',
  'maxTlsVersion',
]
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const lookMs = 5_000
const dayMs = 86_400_000
const warnBeforeMs = 14 * dayMs

/** @returns what is wrong with `originClientCertificates` in `connector.json`, each with its path */
export function findClientCertificateProblems(value: unknown): string[] {
  if (!Array.isArray(value)) return ['originClientCertificates: must be a list of certificates']
  return value.flatMap((entry: unknown, index) => {
    const path = `originClientCertificates[${index}]`
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
      return [`${path}: must be an object with applications, origins, certificateFile and keyFile`]
    const settings = entry as Record<string, unknown>
    const problems: string[] = []
    const say = (field: string, message: string) => problems.push(`${path}.${field}: ${message}`)
    if (!isTexts(settings.applications) || !settings.applications.every((id) => uuid.test(id)))
      say('applications', 'must be a list of application IDs, as "sallyport app show" prints them')
    if (isTexts(settings.origins))
      for (const problem of findRuleProblems(settings.origins)) say('origins', problem)
    else say('origins', 'must be a list of HOST:PORT or *.SUFFIX:PORT')
    for (const field of ['certificateFile', 'keyFile', 'passphraseFile'])
      if (
        !(typeof settings[field] === 'string' && isAbsolute(settings[field])) &&
        !(field === 'passphraseFile' && settings[field] === undefined)
      )
        say(field, 'must be the absolute path of a file')
    if (![undefined, '1.2', '1.3'].includes(settings.maxTlsVersion as string | undefined))
      say('maxTlsVersion', 'must be "1.2" or "1.3"')
    for (const key of Object.keys(settings)) if (!known.includes(key)) say(key, 'is unknown')
    return problems
  })
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string')
}

function findRuleProblems(rules: readonly string[]): readonly string[] {
  try {
    parseAllowRules(rules)
    return []
  } catch (error) {
    if (error instanceof ConnectorError) return error.problems
    throw error
  }
}

/** One entry with its files, which are read again when they change. */
export class WatchedClientCertificate {
  readonly settings: ClientCertificateSettings
  readonly #applications: ReadonlySet<string>
  readonly #rules: readonly AllowRule[]
  readonly #clock: () => number
  readonly #log: Log
  #current: ClientCertificate | undefined
  #problem: ConnectorError | undefined
  /** What the files held when they were read, and at the last look. */
  #readTexts = ''
  #seenTexts = ''
  #warnedAt = 0

  constructor(settings: ClientCertificateSettings, clock: () => number, log: Log) {
    this.settings = settings
    this.#applications = new Set(settings.applications.map((id) => id.toLowerCase()))
    this.#rules = parseAllowRules(settings.origins)
    this.#clock = clock
    this.#log = log
    this.#readTexts = this.#texts()
    this.#seenTexts = this.#readTexts
    this.#read()
    this.#warn()
  }

  /** Whether requests of the application to the destination are to be sent with it. */
  isFor(applicationId: string, { name, address, port, secure }: Destination): boolean {
    return (
      secure &&
      this.#applications.has(applicationId.toLowerCase()) &&
      this.#rules.some(
        (rule) =>
          (rule.port === undefined || rule.port === port) &&
          (rule.kind === 'addresses'
            ? address !== undefined && isWithin(address, rule.prefix)
            : name !== undefined && matchesName(rule, name)),
      )
    )
  }

  /** What is shown to origins now; undefined while nothing can be. */
  get current(): ClientCertificate | undefined {
    return this.#current !== undefined && this.#clock() < this.#current.notAfterAt
      ? this.#current
      : undefined
  }

  /** @throws OriginFailure `ORIGIN_CLIENT_CERTIFICATE`, its message begins with a stable code */
  get(): ClientCertificate {
    const { current } = this
    if (current) return current
    const problem = this.#problem ?? expired(this.settings.certificateFile, this.#current!)
    throw new OriginFailure(
      ResetCode.ORIGIN_CLIENT_CERTIFICATE,
      `${problem.code}: ${problem.message}`,
      { cause: problem },
    )
  }

  status(): ClientCertificateStatus {
    const { applications, origins, certificateFile } = this.settings
    const { current } = this
    const problem =
      this.#problem ?? (current ? undefined : expired(certificateFile, this.#current!))
    return {
      applications,
      origins,
      certificateFile,
      ...(current && {
        subject: current.subject,
        serial: current.serial,
        notAfterAt: current.notAfterAt,
      }),
      ...(problem && { problem: { code: problem.code, message: problem.message } }),
    }
  }

  /**
   * Reads the files if they have changed. Certificate and key are two files: they are read when both have come to rest,
   * which is when two looks see the same.
   */
  look(): void {
    const texts = this.#texts()
    const isAtRest = texts === this.#seenTexts
    this.#seenTexts = texts
    if (isAtRest && texts !== this.#readTexts) {
      this.#readTexts = texts
      this.#read()
    }
    this.#warn()
  }

  #texts(): string {
    const { certificateFile, keyFile, passphraseFile } = this.settings
    return [certificateFile, keyFile, passphraseFile]
      .map((file) => {
        try {
          return file === undefined ? '' : `${statSync(file).mode}\n${readFileSync(file, 'latin1')}`
        } catch (error) {
          return findErrorCode(error) ?? ''
        }
      })
      .join('\n\n')
  }

  /** What cannot be used leaves the one before in force: a renewal may be under way, and is then seen at the next look. */
  #read(): void {
    const { certificateFile } = this.settings
    try {
      const before = this.#current
      this.#current = readClientCertificate(this.settings, this.#clock())
      this.#problem = undefined
      this.#warnedAt = 0
      const { subject, serial, notAfterAt } = this.#current
      if (before && before.serial !== serial)
        this.#log.info(
          { certificateFile, subject, serial, notAfterAt },
          'a new client certificate is in force',
        )
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error
      this.#problem = error
      this.#log.error(
        { certificateFile, code: error.code, detail: error.message },
        this.current
          ? 'a client certificate cannot be used; the one before stays in force'
          : 'a client certificate cannot be used',
      )
    }
  }

  /** Once a day. */
  #warn(): void {
    const nowAt = this.#clock()
    if (this.#current === undefined || nowAt - this.#warnedAt < dayMs) return
    const { subject, notAfterAt } = this.#current
    if (notAfterAt - nowAt >= warnBeforeMs) return
    this.#warnedAt = nowAt
    const { certificateFile, origins } = this.settings
    this.#log.warn(
      { certificateFile, origins, subject, notAfterAt },
      notAfterAt <= nowAt ? 'a client certificate has expired' : 'a client certificate ends soon',
    )
  }
}

/** All of them, looked at every few seconds. */
export class ClientCertificates {
  readonly #all: readonly WatchedClientCertificate[]
  readonly #timer: NodeJS.Timeout

  /** @param settings checked before */
  constructor(
    settings: readonly ClientCertificateSettings[],
    { clock, log }: { clock: () => number; log: Log },
  ) {
    this.#all = settings.map((one) => new WatchedClientCertificate(one, clock, log))
    this.#timer = setInterval(() => this.look(), lookMs).unref()
  }

  /** The first that is for requests of the application to the destination. */
  find(applicationId: string, destination: Destination): WatchedClientCertificate | undefined {
    return this.#all.find((one) => one.isFor(applicationId, destination))
  }

  look(): void {
    for (const one of this.#all) one.look()
  }

  status(): ClientCertificateStatus[] {
    return this.#all.map((one) => one.status())
  }

  close(): void {
    clearInterval(this.#timer)
  }
}

/**
 * Reads the files of one entry.
 *
 * @throws ConnectorError `ORIGIN_CLIENT_CERTIFICATE_*`, `ORIGIN_CLIENT_KEY_*`
 */
function readClientCertificate(
  settings: ClientCertificateSettings,
  nowAt: number,
): ClientCertificate {
  const { certificateFile, keyFile, passphraseFile, maxTlsVersion } = settings
  const certificatePem = readText(certificateFile)
  const leaf = orFail(
    () => new X509Certificate(certificatePem),
    'ORIGIN_CLIENT_CERTIFICATE_INVALID',
    `${certificateFile} holds no certificate in PEM`,
  )
  const key = readKey(keyFile, passphraseFile)
  if (!leaf.checkPrivateKey(key))
    throw new ConnectorError(
      'ORIGIN_CLIENT_KEY_MISMATCH',
      `${keyFile} is not the key of the first certificate in ${certificateFile} (${toOneLine(leaf.subject)})`,
    )
  const context: SecureContextOptions = {
    cert: certificatePem,
    key: key.export({ type: 'pkcs8', format: 'pem' }),
    ...(maxTlsVersion === '1.2' ? { maxVersion: 'TLSv1.2' } : {}),
  }
  // Sees what the look at the first certificate does not: intermediates that are damaged, a key that OpenSSL refuses.
  orFail(
    () => createSecureContext(context),
    'ORIGIN_CLIENT_CERTIFICATE_INVALID',
    `${certificateFile} cannot be used with ${keyFile}`,
  )
  const read: ClientCertificate = {
    context,
    subject: toOneLine(leaf.subject),
    serial: leaf.serialNumber.toLowerCase(),
    notBeforeAt: Date.parse(leaf.validFrom),
    notAfterAt: Date.parse(leaf.validTo),
  }
  if (read.notAfterAt <= nowAt) throw expired(certificateFile, read)
  if (read.notBeforeAt > nowAt)
    throw new ConnectorError(
      'ORIGIN_CLIENT_CERTIFICATE_NOT_YET_VALID',
      `${certificateFile} is valid from ${new Date(read.notBeforeAt).toISOString()} on; is the clock of this machine right?`,
    )
  return read
}

function readKey(keyFile: string, passphraseFile: string | undefined): KeyObject {
  const pem = readText(keyFile)
  for (const file of passphraseFile === undefined ? [keyFile] : [keyFile, passphraseFile])
    if ((statSync(file).mode & 0o077) !== 0)
      throw new ConnectorError(
        'ORIGIN_CLIENT_KEY_EXPOSED',
        `${file} can be read by other users: its mode must be 0600, and its owner the connector's user`,
      )
  const passphrase =
    passphraseFile === undefined ? undefined : readText(passphraseFile).split(/\r?\n/, 1)[0]!
  return orFail(
    () => createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) }),
    'ORIGIN_CLIENT_KEY_INVALID',
    passphrase === undefined
      ? `${keyFile} holds no private key in PEM that opens without a passphrase`
      : `${keyFile} holds no private key in PEM that opens with the first line of ${passphraseFile}`,
  )
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new ConnectorError(
      'ORIGIN_CLIENT_CERTIFICATE_MISSING',
      `${file} cannot be read (${findErrorCode(cause)})`,
      { cause },
    )
  }
}

function orFail<T>(work: () => T, code: ConnectorErrorCode, message: string): T {
  try {
    return work()
  } catch (cause) {
    throw new ConnectorError(code, `${message}: ${toError(cause).message}`, { cause })
  }
}

function expired(certificateFile: string, { notAfterAt }: ClientCertificate): ConnectorError {
  return new ConnectorError(
    'ORIGIN_CLIENT_CERTIFICATE_EXPIRED',
    `${certificateFile} has expired on ${new Date(notAfterAt).toISOString()}; put a new one there`,
  )
}

/** Node prints one attribute a line. */
function toOneLine(subject: string): string {
  return subject.split('\n').join(', ')
}
