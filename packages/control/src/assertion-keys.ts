import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'
import type { AccessEvent } from '@sallyport/domain'
import { secrets } from '@sallyport/store'
import type { Db } from './configuration.ts'
import type { KeyFile } from './key-file.ts'

/** The public half of a key, as a JWK set holds it (RFC 7517, RFC 7518 section 6.2). */
export interface AssertionJwk {
  kty: 'EC'
  crv: 'P-256'
  x: string
  y: string
  /** Thumbprint of the key (RFC 7638). */
  kid: string
  use: 'sig'
  alg: 'ES256'
}

/** The keys of assertions at one instant. */
export interface AssertionRing {
  readonly signing: { readonly kid: string; readonly privateKey: KeyObject }
  /** Those by which an assertion may be signed that is still good, or that verifiers shall know beforehand. */
  readonly published: readonly AssertionJwk[]
}

/** What a person reads of a key. Instants are epoch milliseconds. */
export interface AssertionKeyFacts {
  id: string
  createdAt: number
  signsAt: number
  /** From then on a newer one signs; null: none is known yet. */
  supersededAt: number | null
}

const purpose = 'assertion-key'
const idPrefix = 'assertion-key-'

/** How long a JWK set may be kept by those who fetch it. */
export const jwksMaxAgeMs = 300_000
/** A new key is published so long before it signs: whoever keeps the set has it by then, and every process has heard of it. */
const publishedBeforeMs = 2 * jwksMaxAgeMs
/** And so long after: an assertion lives five minutes, and clocks differ. */
const publishedAfterMs = 600_000

interface KeptKey {
  kid: string
  privateKey: KeyObject
  jwk: AssertionJwk
  createdAt: number
  signsAt: number
  supersededAt: number
}

/**
 * The keys that sign what tells applications who a person is, kept sealed in the store. What follows from the order in which they were
 * made needs no second note: the oldest signs at once, every later one when verifiers have had time to fetch it.
 */
export class AssertionKeys {
  readonly #keyFile: KeyFile
  readonly #clock: () => number
  /** Newest first. */
  #keys: readonly KeptKey[] = []
  #ring: { ring: AssertionRing; from: number; until: number } | undefined

  private constructor(keyFile: KeyFile, clock: () => number) {
    this.#keyFile = keyFile
    this.#clock = clock
  }

  /** @throws ControlError `KEY_FILE_MISMATCH` */
  static async load(db: Db, keyFile: KeyFile, clock: () => number): Promise<AssertionKeys> {
    const keys = new AssertionKeys(keyFile, clock)
    if ((await secrets.listSecrets(db, purpose)).length === 0)
      await saveNewKey(db, keyFile, clock())
    await keys.reload(db)
    return keys
  }

  /** Reads what is stored. To be called when another process may have changed it. */
  async reload(db: Db): Promise<void> {
    const rows = await secrets.listSecrets(db, purpose)
    const instants = toInstants(rows)
    this.#keys = rows.map(({ id, sealed }, index) => {
      const known = this.#keys.find(({ kid }) => idPrefix + kid === id)
      const privateKey =
        known?.privateKey ??
        createPrivateKey({
          key: this.#keyFile.open(purpose, sealed),
          format: 'der',
          type: 'pkcs8',
        })
      const jwk = known?.jwk ?? toJwk(privateKey)
      return { kid: jwk.kid, privateKey, jwk, ...instants[index]! }
    })
    this.#ring = undefined
  }

  /** @returns the same object until it changes */
  ring(): AssertionRing {
    const nowAt = this.#clock()
    if (this.#ring && nowAt >= this.#ring.from && nowAt < this.#ring.until) return this.#ring.ring
    const { kid, privateKey } =
      this.#keys.find(({ signsAt }) => signsAt <= nowAt) ?? this.#keys.at(-1)!
    const ring: AssertionRing = {
      signing: { kid, privateKey },
      published: this.#keys
        .filter(({ supersededAt }) => nowAt < supersededAt + publishedAfterMs)
        .map(({ jwk }) => jwk),
    }
    const changes = this.#keys.flatMap((key) => [key.signsAt, key.supersededAt + publishedAfterMs])
    this.#ring = {
      ring,
      // A clock may be set back.
      from: Math.max(Number.NEGATIVE_INFINITY, ...changes.filter((at) => at <= nowAt)),
      until: Math.min(Number.POSITIVE_INFINITY, ...changes.filter((at) => at > nowAt)),
    }
    return ring
  }

  list(): AssertionKeyFacts[] {
    return this.#keys.map(({ kid, createdAt, signsAt, supersededAt }) => ({
      id: kid,
      createdAt,
      signsAt,
      supersededAt: Number.isFinite(supersededAt) ? supersededAt : null,
    }))
  }
}

interface Instants {
  createdAt: number
  signsAt: number
  supersededAt: number
}

/** @param rows newest first */
function toInstants(rows: readonly { createdAt: number }[]): Instants[] {
  let supersededAt = Number.POSITIVE_INFINITY
  return rows.map(({ createdAt }, index) => {
    const isOldest = index === rows.length - 1
    const signsAt = isOldest ? createdAt : createdAt + publishedBeforeMs
    const instants = { createdAt, signsAt, supersededAt }
    supersededAt = Math.min(supersededAt, signsAt)
    return instants
  })
}

async function saveNewKey(db: Db, keyFile: KeyFile, nowAt: number): Promise<string> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { kid } = toJwk(privateKey)
  const sealed = keyFile.seal(purpose, privateKey.export({ format: 'der', type: 'pkcs8' }))
  await secrets.saveSecret(db, { id: idPrefix + kid, purpose, sealed, createdAt: nowAt })
  return kid
}

function toJwk(privateKey: KeyObject): AssertionJwk {
  const { x, y } = createPublicKey(privateKey).export({ format: 'jwk' }) as { x: string; y: string }
  const thumbed = JSON.stringify({ crv: 'P-256', kty: 'EC', x, y })
  const kid = createHash('sha256').update(thumbed).digest('base64url')
  return { kty: 'EC', crv: 'P-256', x, y, kid, use: 'sig', alg: 'ES256' }
}

/**
 * Makes a key that signs when whoever keeps the published keys has it.
 *
 * @param forgetOlder older keys are published no more, and the new one signs at once
 * @returns the new key's id, and what to publish once it is committed
 */
export async function rotateAssertionKeys(
  db: Db,
  keyFile: KeyFile,
  nowAt: number,
  forgetOlder: boolean,
): Promise<{ id: string; events: AccessEvent[] }> {
  let newestAt = 0
  for (const { id, createdAt } of await secrets.listSecrets(db, purpose)) {
    newestAt = Math.max(newestAt, createdAt)
    if (forgetOlder) await secrets.deleteSecret(db, id)
  }
  // Their order is their age; two of one millisecond would have none.
  const id = await saveNewKey(db, keyFile, forgetOlder ? nowAt : Math.max(nowAt, newestAt + 1))
  return { id, events: [{ kind: 'keys-changed', at: nowAt }] }
}

/** Removes the keys that are published no more. */
export async function deleteLapsedAssertionKeys(db: Db, nowAt: number): Promise<void> {
  const rows = await secrets.listSecrets(db, purpose)
  const instants = toInstants(rows)
  for (const [index, { id }] of rows.entries())
    if (instants[index]!.supersededAt + publishedAfterMs < nowAt) await secrets.deleteSecret(db, id)
}
