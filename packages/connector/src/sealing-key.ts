import {
  fingerprintOf,
  openCredential,
  readSealingKey,
  sealCredential,
} from '@sallyport/sso/password'
import type { Resolve } from './dial.ts'
import { ConnectorError, findErrorCode, toError } from './errors.ts'
import { type Identity, openIdentity } from './identity.ts'
import type { Log } from './log.ts'
import { readText } from './service-request.ts'
import { readSealingKeyPem, readState } from './state.ts'

/** Tells the service which key passwords for this connector are sealed to; once in the life of the process. */
export class SealingKeyAnnouncement {
  readonly #identity: Identity
  readonly #publicKey: string
  readonly #log: Log
  readonly #onAnnounced: () => void
  #isDone = false
  #running: Promise<void> | undefined

  constructor(options: {
    identity: Identity
    publicKey: string
    log: Log
    onAnnounced: () => void
  }) {
    this.#identity = options.identity
    this.#publicKey = options.publicKey
    this.#log = options.log
    this.#onAnnounced = options.onAnnounced
  }

  get isDone(): boolean {
    return this.#isDone
  }

  /** Resolves when nothing is under way. */
  get settled(): Promise<void> {
    return this.#running ?? Promise.resolve()
  }

  /** A tunnel has come up, so the service can be asked; what fails now is done with the next one. */
  begin(): void {
    if (this.#isDone || this.#running) return
    this.#running = this.#announce().finally(() => {
      this.#running = undefined
    })
  }

  async #announce(): Promise<void> {
    try {
      await this.#identity.ask('/v1/sealing-key', { sealingKey: this.#publicKey })
      this.#isDone = true
      this.#onAnnounced()
    } catch (error) {
      const { message } = toError(error)
      this.#log.warn({ code: findErrorCode(error), detail: message }, 'sealing key not announced')
    }
  }
}

/** @throws ConnectorError `NOT_ENROLLED`, `STATE_INVALID` */
export function readSealingKeyFingerprint(stateDir: string): string {
  readState(stateDir)
  return readSealingKey(readSealingKeyPem(stateDir)).fingerprint
}

export interface ResealOptions {
  stateDir: string
  /** Of the other connector's key, as its machine prints it. */
  fingerprint: string
  log: Log
  resolve?: Resolve
}

/**
 * Seals every password that this connector can open to another one of its group too. The service says which key that is; it
 * counts only if its fingerprint is the one that an administrator has compared.
 *
 * @returns the other connector's name, and how many it can open now that it could not before
 * @throws ConnectorError `NOT_ENROLLED`, `STATE_INVALID`, `SERVICE_RESPONSE_INVALID` and those of `Identity.ask`
 * @throws SealingError `SEALED_FOR_ANOTHER_KEY`, `SEALED_INVALID`
 */
export async function resealFor(options: ResealOptions): Promise<{ name: string; added: number }> {
  const { stateDir, fingerprint, log } = options
  const state = readState(stateDir)
  const key = readSealingKey(readSealingKeyPem(stateDir))
  const identity = openIdentity({ state, stateDir, log, resolve: options.resolve })
  let added = 0
  for (;;) {
    const answer = await identity.ask('/v1/sealed', { fingerprint })
    const publicKey = readText(answer, 'publicKey')
    const name = readText(answer, 'name')
    if (fingerprintOf(publicKey) !== fingerprint)
      throw new ConnectorError(
        'SERVICE_RESPONSE_INVALID',
        `the service gave a key with the fingerprint ${fingerprintOf(publicKey)} instead of ${fingerprint}; nothing was sealed to it`,
      )
    const page = readCredentials(answer.credentials)
    if (page.length === 0) return { name, added }
    const copies = page.map(({ credentialId, sealed, ...binding }) => ({
      credentialId,
      version: binding.version,
      sealed: sealCredential(publicKey, openCredential(key, sealed, binding), binding),
    }))
    const outcome = await identity.ask('/v1/reseal', { fingerprint, copies })
    if (!Number.isSafeInteger(outcome.added))
      throw new ConnectorError('SERVICE_RESPONSE_INVALID', 'the answer has no added')
    added += outcome.added as number
    // What was changed meanwhile has been sealed to both by the service; nothing else is left out.
    if (outcome.added === 0) return { name, added }
  }
}

interface SealedForUs {
  credentialId: string
  applicationId: string
  subject: string
  origin: string
  action: string
  version: number
  sealed: string
}

const texts = ['credentialId', 'applicationId', 'subject', 'origin', 'action', 'sealed'] as const

function readCredentials(value: unknown): SealedForUs[] {
  const isCredential = (one: unknown) =>
    typeof one === 'object' &&
    one !== null &&
    texts.every((name) => typeof (one as Record<string, unknown>)[name] === 'string') &&
    Number.isSafeInteger((one as { version?: unknown }).version)
  if (!Array.isArray(value) || !value.every(isCredential))
    throw new ConnectorError('SERVICE_RESPONSE_INVALID', 'the answer has no credentials')
  return value as SealedForUs[]
}
