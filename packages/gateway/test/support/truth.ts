import type { AccessEvent, AssignedApplication, DenySet, IdentitySession } from '@sallyport/domain'

interface User {
  enabled: boolean
  epoch: number
  displayName: string
}

interface SessionRow {
  id: string
  userId: string
  epoch: number
  signedInAt: number
  absoluteExpiresAt: number
  endedAt: number | undefined
}

export const absoluteLifetimeMs = 12 * 3_600_000
/** Nobody asks for what was longer ago. */
const limitHistoryMs = 600_000

/** Who may open what: the model that gateways are compared with, and the directory that they ask. */
export class Truth {
  nowAt: number
  readonly users = new Map<string, User>()
  /** Members of each group: users and groups. */
  readonly groups = new Map<string, Set<string>>()
  readonly sessions = new Map<string, SessionRow>()
  applications: AssignedApplication[] = []
  configurationVersion = 1
  readonly #lastStoodAt = new Map<string, number>()
  /** What was in force, and until when. */
  #pastApplications: { value: AssignedApplication[]; untilAt: number }[] = []
  #pastPrincipals: { userId: string; value: string[]; untilAt: number }[] = []
  readonly #publish: (event: AccessEvent) => void
  #count = 0

  constructor(nowAt: number, publish: (event: AccessEvent) => void) {
    this.nowAt = nowAt
    this.#publish = publish
  }

  // --- what the directory answers

  read(sessionId: string): IdentitySession | undefined {
    const row = this.sessions.get(sessionId)
    const user = row && this.users.get(row.userId)
    if (!row || !user || !this.#stands(row)) return undefined
    return {
      sessionId,
      userId: row.userId,
      signInEpoch: row.epoch,
      methods: ['pwd'],
      signedInAt: row.signedInAt,
      absoluteExpiresAt: row.absoluteExpiresAt,
      claims: {
        objectId: row.userId,
        userName: row.userId,
        displayName: user.displayName,
        mail: undefined,
        groups: this.groupsOf(row.userId).map((id) => ({ id, name: id })),
      },
    }
  }

  denySet(): DenySet {
    const rows = [...this.sessions.values()].filter((row) => row.absoluteExpiresAt > this.nowAt)
    return {
      endedSessions: rows.flatMap(({ id, endedAt }) =>
        endedAt === undefined ? [] : [{ sessionId: id, at: endedAt }],
      ),
      epochs: rows.flatMap(({ userId, epoch }) => {
        const user = this.users.get(userId)
        return user && epoch < user.epoch
          ? [{ userId, signInEpoch: user.epoch, at: this.nowAt }]
          : []
      }),
      revokedConnectorIds: [],
      connectorGroups: [],
    }
  }

  groupsOf(userId: string): string[] {
    const found = new Set<string>()
    const above = (member: string) => {
      for (const [group, members] of this.groups)
        if (members.has(member) && !found.has(group)) {
          found.add(group)
          above(group)
        }
    }
    above(userId)
    return [...found]
  }

  // --- what is allowed

  isAllowed(sessionId: string, applicationName: string): boolean {
    const row = this.sessions.get(sessionId)
    if (!row || !this.#stands(row)) return false
    const principals = [row.userId, ...this.groupsOf(row.userId)]
    return isAssigned(this.applications, applicationName, principals)
  }

  /**
   * Whether it is allowed now, or was in the time before. Who is assigned, who is in which group, and which sessions stand may be known as of
   * different instants of that time: somebody may have come into a group while the group's assignment ended.
   */
  wasAllowed(sessionId: string, applicationName: string, withinMs: number): boolean {
    const row = this.sessions.get(sessionId)
    if (!row) return false
    const stoodAt = this.#stands(row) ? this.nowAt : (this.#lastStoodAt.get(sessionId) ?? 0)
    if (this.nowAt - stoodAt > withinMs) return false
    const isRecent = ({ untilAt }: { untilAt: number }) => this.nowAt - untilAt <= withinMs
    const assignments = this.#pastApplications.filter(isRecent).map(({ value }) => value)
    const principals = this.#pastPrincipals
      .filter((past) => past.userId === row.userId && isRecent(past))
      .map(({ value }) => value)
    principals.push([row.userId, ...this.groupsOf(row.userId)])
    return [this.applications, ...assignments].some((applications) =>
      principals.some((ids) => isAssigned(applications, applicationName, ids)),
    )
  }

  /** To be called before anything changes: what is so until then was so at this instant. */
  note(): void {
    for (const row of this.sessions.values())
      if (this.#stands(row)) this.#lastStoodAt.set(row.id, this.nowAt)
  }

  /** Memberships are about to change. */
  #noteGroups(): void {
    this.note()
    const oldestAt = this.nowAt - limitHistoryMs
    this.#pastPrincipals = this.#pastPrincipals.filter(({ untilAt }) => untilAt >= oldestAt)
    for (const userId of this.users.keys())
      this.#pastPrincipals.push({
        userId,
        value: [userId, ...this.groupsOf(userId)],
        untilAt: this.nowAt,
      })
  }

  #stands({ userId, epoch, endedAt, absoluteExpiresAt }: SessionRow): boolean {
    const user = this.users.get(userId)
    return (
      endedAt === undefined &&
      this.nowAt < absoluteExpiresAt &&
      user?.enabled === true &&
      user.epoch === epoch
    )
  }

  // --- the events of decision 0002

  signIn(userId: string): string | undefined {
    const user = this.users.get(userId)
    if (!user?.enabled) return undefined
    this.#count += 1
    const id = `session ${this.#count} of ${userId}`
    this.sessions.set(id, {
      id,
      userId,
      epoch: user.epoch,
      signedInAt: this.nowAt,
      absoluteExpiresAt: this.nowAt + absoluteLifetimeMs,
      endedAt: undefined,
    })
    return id
  }

  /** Signed out, replaced, or ended by an administrator. */
  endSession(id: string): void {
    const row = this.sessions.get(id)
    if (!row || row.endedAt !== undefined) return
    this.note()
    row.endedAt = this.nowAt
    this.#publish({ kind: 'session-ended', sessionId: id, at: this.nowAt })
  }

  /** Password, factors, all sessions ended; with `enabled` disabled or enabled. */
  raise(userId: string, enabled?: boolean): void {
    const user = this.users.get(userId)
    if (!user) return
    this.note()
    user.epoch += 1
    if (enabled !== undefined) user.enabled = enabled
    this.#publish({ kind: 'user-epoch', userId, signInEpoch: user.epoch, at: this.nowAt })
  }

  deleteUser(userId: string): void {
    const user = this.users.get(userId)
    if (!user) return
    this.#noteGroups()
    this.users.delete(userId)
    for (const members of this.groups.values()) members.delete(userId)
    for (const row of this.sessions.values()) if (row.userId === userId) row.endedAt ??= this.nowAt
    this.#publish({ kind: 'user-epoch', userId, signInEpoch: user.epoch + 1, at: this.nowAt })
  }

  rename(userId: string): void {
    const user = this.users.get(userId)
    if (!user) return
    user.displayName += '+'
    this.#publish({ kind: 'claims-changed', userId, at: this.nowAt })
  }

  setMember(group: string, member: string, isMember: boolean): void {
    const members = this.groups.get(group)
    if (!members || members.has(member) === isMember) return
    this.#noteGroups()
    const below = () =>
      [...this.users.keys()].filter((id) => id === member || this.groupsOf(id).includes(member))
    const concerned = below()
    if (isMember) members.add(member)
    else members.delete(member)
    for (const userId of concerned)
      this.#publish({ kind: 'claims-changed', userId, at: this.nowAt })
  }

  deleteGroup(group: string): void {
    if (!this.groups.has(group)) return
    this.#noteGroups()
    const concerned = [...this.users.keys()].filter((id) => this.groupsOf(id).includes(group))
    this.groups.delete(group)
    for (const members of this.groups.values()) members.delete(group)
    for (const userId of concerned)
      this.#publish({ kind: 'claims-changed', userId, at: this.nowAt })
    this.configure(
      this.applications.map(({ application, principalIds }) => ({
        application,
        principalIds: principalIds.filter((id) => id !== group),
      })),
    )
  }

  /** Assignments, or applications, become others. */
  configure(applications: AssignedApplication[]): void {
    this.note()
    this.#pastApplications.push({ value: this.applications, untilAt: this.nowAt })
    this.applications = applications
    this.configurationVersion += 1
    this.#publish({ kind: 'configuration-changed', at: this.nowAt })
  }
}

function isAssigned(
  applications: readonly AssignedApplication[],
  name: string,
  principalIds: readonly string[],
): boolean {
  const found = applications.find(({ application }) => application.name === name)
  return found?.principalIds.some((id) => principalIds.includes(id)) ?? false
}
