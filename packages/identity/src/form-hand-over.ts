import { randomBytes } from 'node:crypto'
import {
  type CompiledApplication,
  isOwnUrl,
  type MessageFormPage,
  type Snapshot,
} from '@sallyport/domain'
import { oidcModel, type Store, sessions } from '@sallyport/store'

/** What a host gets that asks for a form. */
export type HandedForm =
  | { kind: 'form'; form: MessageFormPage }
  /** It is there, but was made in another session. */
  | { kind: 'other-session' }
  /** It was taken before, has expired, is for another host or never was. */
  | { kind: 'gone' }

interface Kept {
  form: MessageFormPage
  origin: string
  /** Undefined: the message says nothing of anybody. */
  sessionId: string | undefined
  expiresAt: number
}

export interface FormHandOverParts {
  db: Store['db']
  snapshot(): Snapshot
  seal(purpose: string, bytes: Buffer): string
  open(purpose: string, sealed: string): Buffer
  clock(): number
}

const model = 'FormHandOver'
const purpose = 'form-hand-over'
const lifetimeMs = 60_000

/**
 * Messages to applications on another site than the sign-in host. Browsers send no cookie with a form of another site (SameSite=Lax),
 * so the application's own host shows the page with the form: the browser is sent there by an address that names what is
 * kept here, and that the host takes for the person's session, once.
 */
export class FormHandOver {
  readonly #parts: FormHandOverParts

  constructor(parts: FormHandOverParts) {
    this.#parts = parts
  }

  /**
   * @param sessionId that the message is for; undefined when it says nothing of anybody
   * @returns where the browser gets the form; undefined when the sign-in host may show it itself
   */
  async begin(
    compiled: CompiledApplication,
    form: MessageFormPage,
    sessionId: string | undefined,
  ): Promise<string | undefined> {
    const { db, snapshot, seal, clock } = this.#parts
    if (!isNeeded(compiled, snapshot(), form.actionUrl)) return undefined
    const { origin } = new URL(form.actionUrl)
    const id = randomBytes(32).toString('base64url')
    const expiresAt = clock() + lifetimeMs
    const kept: Kept = { form, origin, sessionId, expiresAt }
    const sealed = seal(purpose, Buffer.from(JSON.stringify(kept)))
    await oidcModel.saveOidcModel(db, { model, id }, { sealed }, expiresAt)
    return `${origin}/.sallyport/form?id=${id}`
  }

  /** @param request `origin` of the host that asks, `sessionId` of the person who asks there */
  async take(request: { id: string; origin: string; sessionId: string }): Promise<HandedForm> {
    const { db, open, clock } = this.#parts
    const { id, origin, sessionId } = request
    const row = await oidcModel.findOidcModel(db, { model, id })
    if (!row) return { kind: 'gone' }
    const kept = JSON.parse(open(purpose, row.sealed as string).toString()) as Kept
    if (kept.origin !== origin || kept.expiresAt <= clock()) return { kind: 'gone' }
    // Whoever has only come by the address uses nothing up.
    if (kept.sessionId !== undefined && kept.sessionId !== sessionId)
      return { kind: 'other-session' }
    if (!(await sessions.isLiveSession(db, sessionId, clock()))) return { kind: 'gone' }
    const isFirst = await oidcModel.deleteOidcModel(db, { model, id })
    return isFirst ? { kind: 'form', form: kept.form } : { kind: 'gone' }
  }
}

/** Whether a form would come without the session that the gateway wants to see with it. */
function isNeeded(compiled: CompiledApplication, snapshot: Snapshot, actionUrl: string): boolean {
  return (
    compiled.application.preAuthentication === 'identity' &&
    isOwnUrl(compiled, snapshot, actionUrl) &&
    !isSameSite(snapshot.baseDomain, new URL(actionUrl).hostname)
  )
}

/**
 * Whether a host is surely of the same site as the sign-in host. Without the list of public suffixes others may be too: being
 * wrong there costs a redirect. Below a domain of one label, such as `internal`, every name is a site of its own.
 */
function isSameSite(baseDomain: string, host: string): boolean {
  return baseDomain.includes('.') && host.endsWith(`.${baseDomain}`)
}
