import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type CompiledApplication,
  type IdentitySession,
  type KeptPassword,
  notSignedInPage,
  type Problem,
  passwordsPage,
  type Snapshot,
} from '@sallyport/domain'
import { credentials, type Store, sessions } from '@sallyport/store'
import type Provider from 'oidc-provider'
import { findUsableCredential } from './credential-state.ts'
import { mayUse } from './may-use.ts'
import { RateLimit } from './rate-limit.ts'

/** Where passwords for applications are sealed and kept. */
export interface PasswordVault {
  /** @returns what is wrong; nothing when it is kept */
  set(input: {
    applicationId: string
    userId: string
    userName: string
    password: string
  }): Promise<readonly Problem[]>
  /** Forgets a person's own; nothing happens when there is none. */
  remove(input: { applicationId: string; userId: string }): Promise<void>
  /** How many connectors of a group may keep passwords. */
  countKeepers(connectorGroup: string): Promise<number>
}

export interface OwnPasswordsParts {
  db: Store['db']
  provider: Provider
  snapshot(): Snapshot
  vault: PasswordVault
  portalOrigin: string
  clock(): number
}

/** What the request before did, or could not do. */
export interface PasswordOutcome {
  /** Name of the application. */
  application: string
  kind: 'kept' | 'forgotten' | 'invalid' | 'needed'
  problems?: readonly Problem[]
  /** What was typed as the user name, to be typed no second time. */
  userName?: string
}

/** The page on which people enter the passwords that applications of their own sign-in want. Nobody reads them there. */
export class OwnPasswords {
  readonly #parts: OwnPasswordsParts
  /** By person. Each new password is one try at an application, of whatever user name was typed. */
  readonly #changes = new RateLimit({ burst: 20, intervalMs: 30_000 })

  constructor(parts: OwnPasswordsParts) {
    this.#parts = parts
  }

  async show(
    request: IncomingMessage,
    response: ServerResponse,
    outcome: PasswordOutcome | undefined,
  ): Promise<string> {
    const { portalOrigin } = this.#parts
    const session = await this.#find(request, response)
    if (!session) return notSignedInPage({ portalUrl: `${portalOrigin}/` })
    const { displayName, userName } = session.claims
    return passwordsPage({
      displayName,
      userName,
      passwords: await Promise.all(
        this.#applicationsOf(session).map((compiled) => this.#describe(compiled, session, outcome)),
      ),
      portalUrl: `${portalOrigin}/`,
      signOutUrl: `${portalOrigin}/.sallyport/signout`,
    })
  }

  /** @returns undefined when nobody is signed in, or there is no such application for them */
  async change(
    request: IncomingMessage,
    response: ServerResponse,
    form: URLSearchParams,
  ): Promise<PasswordOutcome | 'too-many-requests' | undefined> {
    const { vault, clock } = this.#parts
    const session = await this.#find(request, response)
    const name = form.get('application')
    const compiled =
      session && this.#applicationsOf(session).find(({ application }) => application.name === name)
    if (!compiled) return undefined
    if (this.#changes.take(session.userId, clock()) > 0) return 'too-many-requests'
    const { application } = compiled
    const subject = { applicationId: application.id, userId: session.userId }
    if (form.get('action') === 'forget') {
      await vault.remove(subject)
      return { application: application.name, kind: 'forgotten' }
    }
    const userName = (form.get('userName') ?? '').trim()
    const password = form.get('password') ?? ''
    const problems = await vault.set({ ...subject, userName, password })
    return problems.length === 0
      ? { application: application.name, kind: 'kept' }
      : { application: application.name, kind: 'invalid', problems, userName }
  }

  async #find(request: IncomingMessage, response: ServerResponse) {
    const { db, provider, clock } = this.#parts
    const { uid, accountId } = await provider.Session.get(provider.createContext(request, response))
    return accountId === undefined
      ? undefined
      : await sessions.findIdentitySession(db, uid, clock())
  }

  #applicationsOf(session: IdentitySession): CompiledApplication[] {
    return [...this.#parts.snapshot().applications.values()]
      .filter(
        (compiled) =>
          compiled.application.signOn.method === 'password' && mayUse(session, compiled),
      )
      .sort((a, b) => a.application.displayName.localeCompare(b.application.displayName, 'en'))
  }

  async #describe(
    { application }: CompiledApplication,
    session: IdentitySession,
    outcome: PasswordOutcome | undefined,
  ): Promise<KeptPassword> {
    const { db, vault } = this.#parts
    const groupIds = session.claims.groups.map(({ id }) => id)
    const found = await findUsableCredential(db, application, { id: session.userId, groupIds })
    const { row } = found
    const copies = row ? await credentials.listCopies(db, row.id) : []
    return {
      name: application.name,
      displayName: application.displayName,
      externalUrl: application.externalUrl,
      state: found.state,
      isShared: row?.subjectKind === 'group',
      updatedAt: row?.updatedAt,
      keepers: row ? copies.length : await vault.countKeepers(application.connectorGroup),
      outcome: outcome?.application === application.name ? outcome : undefined,
    }
  }
}
