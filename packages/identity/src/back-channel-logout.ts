import type { Snapshot } from '@sallyport/domain'
import { oidcModel, type Store } from '@sallyport/store'
import type Provider from 'oidc-provider'
import type { Log } from './visit.ts'

export interface BackChannelLogoutParts {
  store: Store
  provider: Provider
  snapshot(): Snapshot
  clock(): number
  log: Log
}

/** An application that cannot be reached is told again after so long; it may be starting. */
const retryMs = 60_000
/** And no longer than that. */
const limitMs = 3_600_000
const limitParallel = 8

/**
 * Tells applications that asked for it when a session ends, for whatever reason (OpenID Connect Back-Channel Logout 1.0). Who is to be
 * told was stored in the transaction that ended the session, so that nothing is forgotten when the service stops.
 */
export class BackChannelLogout {
  readonly #parts: BackChannelLogoutParts
  readonly #unsubscribe: () => void
  #running: Promise<void> | undefined
  #again = false
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(parts: BackChannelLogoutParts) {
    this.#parts = parts
    this.#unsubscribe = parts.store.feed.subscribe(({ kind }) => {
      if (kind === 'session-ended' || kind === 'user-epoch') this.send()
    })
    this.send()
  }

  /** Sends what waits to be sent. */
  send(): void {
    if (this.#closed) return
    if (this.#running) {
      this.#again = true
      return
    }
    this.#running = this.#sendAll()
      .catch((error: unknown) =>
        this.#parts.log.error({ err: error }, 'logout tokens could not be read'),
      )
      .finally(() => {
        this.#running = undefined
        if (!this.#again) return
        this.#again = false
        this.send()
      })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unsubscribe()
    clearTimeout(this.#timer)
    await this.#running
  }

  async #sendAll(): Promise<void> {
    const { db } = this.#parts.store
    const waiting = await oidcModel.listPendingLogouts(db)
    let failed = 0
    for (let start = 0; start < waiting.length; start += limitParallel) {
      const results = await Promise.all(
        waiting.slice(start, start + limitParallel).map((pending) => this.#sendOne(pending)),
      )
      failed += results.filter((done) => !done).length
    }
    clearTimeout(this.#timer)
    if (failed > 0 && !this.#closed) this.#timer = setTimeout(() => this.send(), retryMs).unref()
  }

  /** @returns false when it is to be tried again */
  async #sendOne(pending: oidcModel.PendingLogout): Promise<boolean> {
    const { store, provider, clock, log } = this.#parts
    const { id, clientId, userId, sid, endedAt } = pending
    try {
      const client = await provider.Client.find(clientId)
      if (client?.backchannelLogoutUri !== undefined) await sendLogout(client, userId, sid)
    } catch (error) {
      if (clock() - endedAt < limitMs) {
        log.error(
          { err: error, application: clientId },
          'an application could not be told of a logout',
        )
        return false
      }
      log.error({ err: error, application: clientId }, 'an application was never told of a logout')
    }
    await oidcModel.deleteOidcModel(store.db, { model: oidcModel.logoutModel, id })
    return true
  }
}

type Client = InstanceType<Provider['Client']>

const original = new WeakMap<object, (this: Client, sub: string, sid: string) => Promise<void>>()

/** The provider itself would tell applications while the person waits for the page, and once only. */
export function postponeLogouts(provider: Provider): void {
  const prototype = provider.Client.prototype as Client & LogoutMethod
  original.set(provider.Client, prototype.backchannelLogout)
  prototype.backchannelLogout = async () => undefined
}

interface LogoutMethod {
  backchannelLogout(this: Client, sub: string, sid: string): Promise<void>
}

function sendLogout(client: Client, userId: string, sid: string): Promise<void> {
  return original.get(client.constructor)!.call(client, userId, sid)
}
