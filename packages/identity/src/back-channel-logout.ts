import { applicationIdOf, type Snapshot } from '@sallyport/domain'
import { audit, logoutNotices, type Store } from '@sallyport/store'
import type Provider from 'oidc-provider'
import type { Log } from './visit.ts'

/** What became of telling an application: `failed` is tried again. */
export type LogoutOutcome = 'delivered' | 'failed' | 'given-up'

export interface BackChannelLogoutParts {
  store: Store
  provider: Provider
  snapshot(): Snapshot
  clock(): number
  onOutcome(outcome: LogoutOutcome): void
  /** @returns false when the application need not be told any more @throws when it could not be */
  tellSaml(participant: logoutNotices.SamlParticipant): Promise<boolean>
  log: Log
}

/** An application that cannot be reached is told again after so long, which doubles each time; it may be starting. */
const retryMs = 5_000
const limitRetryMs = 600_000
/** And no longer than that. */
const limitMs = 3_600_000
/** Of one application at a time, and applications at a time. */
const limitTaken = 16
const limitApplications = 32
/** Longer than anything waits for an application: whoever has taken a notice has sent it by then, or has died. */
const takenMs = 60_000

/**
 * Tells applications that asked for it when a session ends, for whatever reason (OpenID Connect Back-Channel Logout 1.0, or SAML by SOAP). Who is to be
 * told was stored in the transaction that ended the session, so that nothing is forgotten when the service stops, and of several
 * services on one database one tells it.
 */
export class BackChannelLogout {
  readonly #parts: BackChannelLogoutParts
  readonly #unsubscribe: () => void
  /** What is being sent, by client: one that does not answer holds up nobody else. */
  readonly #lanes = new Map<string, Promise<void>>()
  #taking: Promise<void> | undefined
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
    if (this.#taking) {
      this.#again = true
      return
    }
    this.#taking = this.#take()
      .catch((error: unknown) => this.#complain(error))
      .finally(() => {
        this.#taking = undefined
        if (!this.#again) return
        this.#again = false
        this.send()
      })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unsubscribe()
    clearTimeout(this.#timer)
    await this.#taking
    await Promise.all(this.#lanes.values())
  }

  async #take(): Promise<void> {
    const { store, clock } = this.#parts
    while (!this.#closed && this.#lanes.size < limitApplications) {
      const nowAt = clock()
      const due = await logoutNotices.takeLogoutNotices(
        store.db,
        nowAt,
        nowAt + takenMs,
        limitTaken,
        [...this.#lanes.keys()],
      )
      if (due.length === 0) break
      for (const [clientId, notices] of Map.groupBy(due, (notice) => notice.clientId))
        this.#lanes.set(clientId, this.#sendAll(clientId, notices))
    }
    clearTimeout(this.#timer)
    const nextAt = await logoutNotices.nextLogoutNoticeAt(store.db)
    if (nextAt === undefined || this.#closed) return
    const waitMs = Math.min(Math.max(nextAt - clock(), 1_000), limitRetryMs)
    this.#timer = setTimeout(() => this.send(), waitMs).unref()
  }

  async #sendAll(clientId: string, notices: logoutNotices.LogoutNotice[]): Promise<void> {
    try {
      await Promise.all(notices.map((notice) => this.#sendOne(notice)))
    } catch (error) {
      this.#complain(error)
    } finally {
      this.#lanes.delete(clientId)
      this.send()
    }
  }

  /** What was taken is there again when its time is up. */
  #complain(error: unknown): void {
    this.#parts.log.error({ err: error }, 'logout tokens could not be read')
  }

  async #sendOne(notice: logoutNotices.LogoutNotice): Promise<void> {
    const { store, clock, onOutcome } = this.#parts
    const { id, endedAt, attempts } = notice
    try {
      if (await this.#tell(notice)) onOutcome('delivered')
    } catch (error) {
      const isOver = clock() - endedAt >= limitMs
      await this.#noteFailure(notice, error, isOver)
      if (!isOver) {
        const waitMs = Math.min(retryMs * 2 ** (attempts - 1), limitRetryMs)
        await logoutNotices.postponeLogoutNotice(store.db, id, clock() + waitMs)
        return
      }
    }
    await logoutNotices.deleteLogoutNotice(store.db, id)
  }

  /** @returns false when the application wants to hear of nothing any more */
  async #tell(notice: logoutNotices.LogoutNotice): Promise<boolean> {
    const { provider, tellSaml } = this.#parts
    const participant = logoutNotices.parseSamlNotice(notice)
    if (participant) return tellSaml(participant)
    const client = await provider.Client.find(notice.clientId)
    if (client?.backchannelLogoutUri === undefined) return false
    await sendLogout(client, notice.userId, notice.sid)
    return true
  }

  async #noteFailure(
    notice: logoutNotices.LogoutNotice,
    error: unknown,
    isOver: boolean,
  ): Promise<void> {
    const { store, snapshot, clock, onOutcome, log } = this.#parts
    const { clientId, userId, attempts } = notice
    const application =
      logoutNotices.parseSamlNotice(notice)?.applicationId ?? applicationIdOf(clientId)
    onOutcome(isOver ? 'given-up' : 'failed')
    log.error(
      { err: error, application },
      isOver
        ? 'an application was never told of a logout'
        : 'an application could not be told of a logout',
    )
    // The first time, and when there will be no other: in between there is nothing new.
    if (attempts > 1 && !isOver) return
    await audit.recordAudit(store.db, {
      at: clock(),
      kind: isOver ? 'back-channel-logout-given-up' : 'back-channel-logout-failed',
      actor: 'service',
      subject: application,
      detail: {
        name: snapshot().findApplicationById(application)?.application.name,
        userId,
        reason: error instanceof Error ? error.message : String(error),
      },
    })
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
