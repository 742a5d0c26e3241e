import { randomBytes } from 'node:crypto'
import type { AccessEvent } from '@sallyport/domain'
import { secrets } from '@sallyport/store'
import type { Db } from './configuration.ts'
import type { KeyFile } from './key-file.ts'

/** One key that cookies are sealed and signed with. */
export interface CookieKey {
  /** Up to 16 of `A-Z a-z 0-9 _ -`. */
  id: string
  /** 32 random bytes. */
  secret: Buffer
}

/** What a person reads of a key. Instants are epoch milliseconds. */
export interface CookieKeyFacts {
  id: string
  createdAt: number
  /** Since then it only opens what it sealed before; null: it seals. */
  supersededAt: number | null
}

const purpose = 'cookie-key'
const idPrefix = 'cookie-key-'

/** The longest that anything sealed by a key lives: the cookie that names a browser to its person. */
export const longestCookieMs = 90 * 86_400_000

interface KeptKey extends CookieKey {
  createdAt: number
  supersededAt: number | undefined
}

/**
 * The keys of all cookies, kept sealed in the store. The newest seals; one that was superseded opens what it has sealed, as long as
 * any of that can be alive, and is then forgotten.
 */
export class CookieKeys {
  readonly #keyFile: KeyFile
  readonly #clock: () => number
  #keys: readonly KeptKey[] = []
  /** Rings that were asked for, by lifetime, until time or a rotation changes them. */
  readonly #rings = new Map<number, { ring: readonly CookieKey[]; until: number }>()

  private constructor(keyFile: KeyFile, clock: () => number) {
    this.#keyFile = keyFile
    this.#clock = clock
  }

  /** @throws ControlError `KEY_FILE_MISMATCH` */
  static async load(db: Db, keyFile: KeyFile, clock: () => number): Promise<CookieKeys> {
    const keys = new CookieKeys(keyFile, clock)
    if ((await secrets.listSecrets(db, purpose)).length === 0)
      await saveNewKey(db, keyFile, clock())
    await keys.reload(db)
    return keys
  }

  /** Reads what is stored. To be called when another process may have changed it. */
  async reload(db: Db): Promise<void> {
    const rows = await secrets.listSecrets(db, purpose)
    this.#keys = rows
      // Two of one millisecond: the one that was not superseded is the newer.
      .toSorted((a, b) => Number(a.retiredAt !== undefined) - Number(b.retiredAt !== undefined))
      .map(({ id, sealed, createdAt, retiredAt }) => ({
        id: id.slice(idPrefix.length),
        secret: this.#keyFile.open(purpose, sealed),
        createdAt,
        supersededAt: retiredAt,
      }))
    this.#rings.clear()
  }

  /**
   * The keys that something may have been sealed with that still lives, the one that seals first.
   *
   * @param lifetimeMs how long what is sealed lives at most
   * @returns the same array until it changes
   */
  ring(lifetimeMs: number): readonly CookieKey[] {
    const nowAt = this.#clock()
    const known = this.#rings.get(lifetimeMs)
    if (known && nowAt < known.until) return known.ring
    const live = this.#keys.filter((key) => nowAt < endOf(key, lifetimeMs))
    const ring = live.map(({ id, secret }) => ({ id, secret }))
    const until = Math.min(...live.map((key) => endOf(key, lifetimeMs)))
    this.#rings.set(lifetimeMs, { ring, until })
    return ring
  }

  list(): CookieKeyFacts[] {
    return this.#keys.map(({ id, createdAt, supersededAt }) => ({
      id,
      createdAt,
      supersededAt: supersededAt ?? null,
    }))
  }
}

function endOf({ supersededAt }: KeptKey, lifetimeMs: number): number {
  return supersededAt === undefined ? Number.POSITIVE_INFINITY : supersededAt + lifetimeMs
}

async function saveNewKey(db: Db, keyFile: KeyFile, nowAt: number): Promise<string> {
  const id = randomBytes(6).toString('base64url')
  const sealed = keyFile.seal(purpose, randomBytes(32))
  await secrets.saveSecret(db, { id: idPrefix + id, purpose, sealed, createdAt: nowAt })
  return id
}

/**
 * Makes a key that seals from now on.
 *
 * @param forgetOlder what older keys have sealed is refused from now on, instead of when it has expired
 * @returns the new key's id, and what to publish once it is committed
 */
export async function rotateCookieKeys(
  db: Db,
  keyFile: KeyFile,
  nowAt: number,
  forgetOlder: boolean,
): Promise<{ id: string; events: AccessEvent[] }> {
  for (const { id, retiredAt } of await secrets.listSecrets(db, purpose)) {
    if (forgetOlder) await secrets.deleteSecret(db, id)
    else if (retiredAt === undefined) await secrets.retireSecret(db, id, nowAt)
  }
  const id = await saveNewKey(db, keyFile, nowAt)
  return { id, events: [{ kind: 'keys-changed', at: nowAt }] }
}

/** Removes the keys by which nothing can be sealed that still lives. */
export async function deleteLapsedKeys(db: Db, nowAt: number): Promise<void> {
  for (const { id, retiredAt } of await secrets.listSecrets(db, purpose))
    if (retiredAt !== undefined && retiredAt + longestCookieMs < nowAt)
      await secrets.deleteSecret(db, id)
}
