import { loadPair } from './authorities.ts'
import {
  type CertificateAuthority,
  documentSigning,
  type KeyPair,
} from './certificate-authority.ts'
import type { Db } from './configuration.ts'
import type { KeyFile } from './key-file.ts'

const dayMs = 86_400_000
const lifetimeMs = 90 * dayMs
const renewMs = 30 * dayMs

/**
 * The key by which identity tells connectors who a person is. Its certificate comes from the authority that connectors
 * pin, and names neither a host nor a connector: with it nobody can serve, or be, either of them.
 */
export class SignOnKey {
  readonly #options: {
    db: Db
    keyFile: KeyFile
    authority: CertificateAuthority
    baseDomain: string
    clock: () => number
  }
  #pair: Promise<KeyPair> | undefined
  #renewAt = 0

  constructor(options: {
    db: Db
    keyFile: KeyFile
    authority: CertificateAuthority
    baseDomain: string
    clock: () => number
  }) {
    this.#options = options
  }

  /** The key in force with its certificate; the same promise until it is renewed. */
  current(): Promise<KeyPair> {
    const nowAt = this.#options.clock()
    if (this.#pair && nowAt < this.#renewAt) return this.#pair
    const pair = this.#load(nowAt)
    this.#pair = pair
    // A day: another process may have renewed it meanwhile.
    this.#renewAt = nowAt + dayMs
    pair.catch(() => {
      if (this.#pair === pair) this.#pair = undefined
    })
    return pair
  }

  #load(nowAt: number): Promise<KeyPair> {
    const { db, keyFile, authority, baseDomain } = this.#options
    return loadPair(db, keyFile, nowAt, 'sign-on', {
      isUsable: ({ notAfterAt }) => notAfterAt - nowAt > renewMs,
      make: () =>
        authority.issuePair(
          {
            subject: [{ CN: [`Sallyport sign-on ${baseDomain}`] }],
            names: [{ type: 'url', value: `spiffe://${baseDomain}/identity/sign-on` }],
            usage: documentSigning,
            lifetimeMs,
          },
          nowAt,
        ),
      authority,
    })
  }
}
