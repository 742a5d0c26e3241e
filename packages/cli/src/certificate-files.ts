import { readFileSync, statSync } from 'node:fs'
import type { Control } from '@sallyport/control'
import { ConfigurationError, type Problem } from '@sallyport/domain'
import type { Logger } from 'pino'
import type { ServiceConfig } from './config.ts'

const pollMs = 2_000
const dayMs = 86_400_000
/** Whoever renews by a program does so weeks before; so late, that program has failed. */
export const warnBeforeMs = 14 * dayMs

type Files = ServiceConfig['certificates'][number]
type Certificates = Pick<Control, 'certificateFacts' | 'replaceCertificate'>

interface Watched {
  files: Files
  /** What the files looked like when they were read, and at the last look. */
  readState: string
  seenState: string
  /** Why what is in the files now is not in force. */
  problem: string | undefined
  warnedAt: number
}

/** A configured certificate, as `status` shows it. */
export interface CertificateStatus {
  certificateFile: string
  hosts: readonly string[]
  serial: string
  notAfterAt: number
  problem?: string
}

/**
 * The certificates that the configuration names, put in force again when their files change. Files are looked at
 * and not watched: a look follows symbolic links, as certbot swaps them, and sees a rename, over network file
 * systems too. A pair that cannot be used leaves the old one in force.
 */
export class CertificateFiles {
  readonly #watched: Watched[]
  readonly #certificates: Certificates
  readonly #clock: () => number
  readonly #log: Logger
  readonly #timer: NodeJS.Timeout

  /** @param certificates has the same, in the same order */
  constructor(
    files: readonly Files[],
    certificates: Certificates,
    { clock, log }: { clock: () => number; log: Logger },
  ) {
    this.#certificates = certificates
    this.#clock = clock
    this.#log = log
    // The first look reads them again: they may have changed since they were read for the start.
    this.#watched = files.map((one) => ({
      files: one,
      readState: '',
      seenState: stateOf(one),
      problem: undefined,
      warnedAt: 0,
    }))
    this.#timer = setInterval(() => this.#look(), pollMs).unref()
    this.#warn()
  }

  /** Reads all of them, changed or not. */
  reload(): void {
    for (const index of this.#watched.keys()) this.#read(index)
  }

  status(): CertificateStatus[] {
    return this.#certificates.certificateFacts().map((facts, index) => {
      const { files, problem } = this.#watched[index]!
      return {
        certificateFile: files.certificateFile,
        ...facts,
        ...(problem === undefined ? {} : { problem }),
      }
    })
  }

  /** What an administrator should do something about, one line each. */
  warnings(): string[] {
    const nowAt = this.#clock()
    return this.status().flatMap(({ certificateFile, hosts, notAfterAt, problem }) => {
      const lines = problem === undefined ? [] : [`${problem}; the one before stays in force`]
      const name = `${certificateFile} (${hosts.join(', ')})`
      const end = new Date(notAfterAt).toISOString().slice(0, 10)
      if (notAfterAt <= nowAt) lines.push(`${name} has expired on ${end}; put a new one there`)
      else if (notAfterAt - nowAt < warnBeforeMs)
        lines.push(`${name} ends on ${end}; put a new one there before`)
      return lines
    })
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    for (const [index, watched] of this.#watched.entries()) {
      const state = stateOf(watched.files)
      // Certificate and key are two files: they are read when both have come to rest.
      const isAtRest = state === watched.seenState
      watched.seenState = state
      if (isAtRest && state !== watched.readState) this.#read(index)
    }
    this.#warn()
  }

  #read(index: number): void {
    const watched = this.#watched[index]!
    watched.readState = stateOf(watched.files)
    watched.seenState = watched.readState
    try {
      const before = this.#certificates.certificateFacts()[index]!.serial
      const [pair] = readCertificates([watched.files], index)
      this.#certificates.replaceCertificate(index, pair!)
      const { serial, hosts, notAfterAt } = this.#certificates.certificateFacts()[index]!
      watched.problem = undefined
      if (serial === before) return
      watched.warnedAt = 0
      const facts = { certificateFile: watched.files.certificateFile, hosts, serial, notAfterAt }
      this.#log.info(facts, 'a new certificate is in force')
    } catch (error) {
      const { code, message } = error as Error & { code?: string }
      // Anything else is a mistake of ours, and must not look like one of the files.
      if (code !== 'SERVER_CERTIFICATE_INVALID' && !(error instanceof ConfigurationError))
        throw error
      watched.problem = message
      this.#log.error(
        { certificateFile: watched.files.certificateFile, problem: message },
        'a certificate cannot be used; the one before stays in force',
      )
    }
  }

  /** Once a day each. */
  #warn(): void {
    const nowAt = this.#clock()
    for (const [index, { certificateFile, hosts, notAfterAt }] of this.status().entries()) {
      const watched = this.#watched[index]!
      if (notAfterAt - nowAt >= warnBeforeMs || nowAt - watched.warnedAt < dayMs) continue
      watched.warnedAt = nowAt
      this.#log.warn(
        { certificateFile, hosts, notAfterAt },
        notAfterAt <= nowAt ? 'a certificate has expired' : 'a certificate ends soon',
      )
    }
  }
}

/**
 * @param first index of the first of them in the configuration
 * @throws ConfigurationError with every file that cannot be read
 */
export function readCertificates(certificates: readonly Files[], first = 0) {
  const problems: Problem[] = []
  const read = (file: string, path: string) => {
    try {
      return readFileSync(file, 'utf8')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      problems.push({ path, message: `${file} cannot be read (${code})` })
      return ''
    }
  }
  const pairs = certificates.map(({ certificateFile, keyFile }, index) => ({
    certificatePem: read(certificateFile, `certificates.${first + index}.certificateFile`),
    keyPem: read(keyFile, `certificates.${first + index}.keyFile`),
  }))
  if (problems.length > 0) throw new ConfigurationError(problems)
  return pairs
}

/** Differs when a file was changed, or another one has come in its place. */
function stateOf({ certificateFile, keyFile }: Files): string {
  return [certificateFile, keyFile]
    .map((file) => {
      try {
        const { dev, ino, size, mtimeNs } = statSync(file, { bigint: true })
        return `${dev} ${ino} ${size} ${mtimeNs}`
      } catch (error) {
        return String((error as NodeJS.ErrnoException).code)
      }
    })
    .join('/')
}
