import assert from 'node:assert/strict'
import type { AssignedApplication } from '@sallyport/domain'
import type { RingKey } from '../../src/index.ts'
import { FarGateway, feedSilenceLimitMs, type Visit } from './fleet.ts'
import { app, startAt } from './gateway.ts'
import { Random } from './random.ts'
import { Truth } from './truth.ts'

/** After its revocation a request may be allowed for so long, when nothing is in the way of the feed. */
const limitMs = 2_000
/** After a disturbance a gateway asks at most so much later again. */
const settleMs = 6_500
const users = ['ana', 'ben', 'eva']
const groups = ['inner', 'middle', 'outer']
const names = ['direct', 'grouped', 'open']

interface Cookie {
  sessionId: string
  applicationName: string
  value: string
}

/**
 * People, administrators, clocks and cables do whatever comes to their minds, in an order that the seed decides; what every gateway
 * lets through is compared with the model.
 */
class World {
  readonly #random: Random
  readonly #truth: Truth
  readonly #gateways: FarGateway[]
  readonly #seed: number
  readonly counts = { visits: 0, allowed: 0 }
  #ring: readonly RingKey[] = [{ id: '1', secret: Buffer.alloc(32, 1) }]
  #cookies: Cookie[] = []
  #pending: { gateway: FarGateway; visit: Visit; cookie: Cookie | undefined }[] = []
  #trace: string[] = []

  constructor(seed: number) {
    this.#seed = seed
    this.#random = new Random(seed)
    this.#truth = new Truth(startAt, (event) => {
      for (const gateway of this.#gateways) gateway.publish(event)
    })
    this.#truth.applications = this.#published()
    for (const id of users) this.#truth.users.set(id, { enabled: true, epoch: 1, displayName: id })
    for (const id of groups) this.#truth.groups.set(id, new Set())
    this.#truth.groups.get('inner')!.add('ana').add('ben')
    this.#truth.groups.get('middle')!.add('inner')
    this.#truth.groups.get('outer')!.add('middle')
    this.#gateways = [1, 2].map(() => new FarGateway(this.#truth, this.#random, () => this.#ring))
  }

  async run(steps: number): Promise<void> {
    for (const gateway of this.#gateways) gateway.start()
    await this.#settle()
    for (const userId of users) this.#signIn(userId)
    try {
      for (let step = 0; step < steps; step += 1) {
        this.#step()
        await this.#settle()
        await this.#advance(this.#random.below(1_500))
      }
      await this.#heal()
    } catch (error) {
      throw new Error(
        `seed ${this.#seed}: ${String(error)}\n${this.#trace.slice(-40).join('\n')}`,
        {
          cause: error,
        },
      )
    } finally {
      for (const gateway of this.#gateways) await gateway.stop()
    }
  }

  // --- what may happen

  #step(): void {
    const { below, one } = {
      below: (n: number) => this.#random.below(n),
      one: <T>(list: readonly T[]) => this.#random.one(list),
    }
    const userId = one(users)
    const gateway = one(this.#gateways)
    const truth = this.#truth
    const acts: [weight: number, name: string, act: () => void][] = [
      [60, 'visit', () => this.#visit(gateway)],
      [12, 'sign in', () => this.#signIn(userId)],
      [4, 'session ended', () => truth.endSession(one([...truth.sessions.keys()]))],
      [2, 'password or end all', () => truth.raise(userId)],
      [2, 'disable', () => truth.raise(userId, false)],
      [6, 'enable', () => this.#enableAll()],
      [1, 'delete', () => this.#deleteAndAdd(userId)],
      [2, 'rename', () => truth.rename(userId)],
      [3, 'leave', () => truth.setMember(one(groups), one([...users, ...groups]), false)],
      [8, 'join', () => this.#join()],
      [1, 'delete group', () => this.#deleteGroup(one(groups))],
      [2, 'configure', () => truth.configure(this.#changed())],
      [6, 'publish all again', () => truth.configure(this.#published())],
      [3, 'cut', () => gateway.cutLink()],
      [5, 'heal', () => gateway.healLink()],
      [2, 'directory away', () => gateway.setDirectory(false)],
      [4, 'directory back', () => gateway.setDirectory(true)],
      [6, 'short loss', () => this.#loseShortly(gateway, userId)],
      [2, 'clock is set', () => this.#setClock(gateway)],
      [1, 'restart', () => this.#restart(gateway)],
      [2, 'keys', () => this.#rotate()],
      [3, 'minutes pass', () => this.#sleep(30_000 + below(300_000))],
      [1, 'half an hour passes', () => this.#sleep(1_900_000)],
    ]
    let at = below(acts.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, name, act] of acts) {
      at -= weight
      if (at >= 0) continue
      this.#trace.push(
        `${this.#truth.nowAt - startAt} ${name} gateway ${this.#gateways.indexOf(gateway)} ${userId}`,
      )
      act()
      return
    }
  }
  #wait = 0

  /** Somebody's access ends while something is in the way, for a moment only. */
  #loseShortly(gateway: FarGateway, userId: string): void {
    const isLink = this.#random.below(2) === 0
    if (isLink) gateway.cutLink()
    else gateway.setDirectory(false)
    if (this.#random.below(3) === 0) this.#truth.raise(userId)
    else for (const group of groups) this.#truth.setMember(group, userId, false)
    this.#truth.setMember('middle', 'inner', this.#random.below(2) === 0)
    this.#wait = 3_000 + this.#random.below(10_000)
    this.#afterWait = () => {
      if (isLink) gateway.healLink()
      else gateway.setDirectory(true)
      // Long enough to be seen, if it was not.
      this.#wait = 12_000
    }
  }
  #afterWait: (() => void) | undefined

  #sleep(ms: number): void {
    this.#wait = ms
  }

  #setClock(gateway: FarGateway): void {
    gateway.skewMs = this.#random.below(240_000) - 120_000
  }

  #enableAll(): void {
    for (const [userId, { enabled }] of this.#truth.users)
      if (!enabled) this.#truth.raise(userId, true)
  }

  #signIn(userId: string): void {
    const sessionId = this.#truth.signIn(userId)
    if (sessionId === undefined) return
    const session = this.#truth.read(sessionId)!
    for (const applicationName of names) {
      const { setCookie } = this.#random
        .one(this.#gateways)
        .gateway.sessionCookie(session, `${applicationName}.example.test`)
      this.#keep({ sessionId, applicationName, value: setCookie.split(';')[0]! })
    }
  }

  /** A browser has one cookie for each host; thieves keep all of them. */
  #keep(cookie: Cookie): void {
    this.#cookies.push(cookie)
    if (this.#cookies.length > 40) this.#cookies.splice(this.#random.below(30), 1)
  }

  #visit(gateway: FarGateway): void {
    // Mostly somebody who has just signed in.
    const latest = this.#random.below(3) > 0 ? this.#cookies.slice(-12) : this.#cookies
    const cookie = this.#random.one(latest)
    const visit = gateway.visit(cookie.sessionId, cookie.applicationName, cookie.value)
    this.counts.visits += 1
    this.#pending.push({ gateway, visit, cookie })
  }

  #join(): void {
    for (const [index, group] of groups.entries()) {
      // Groups hold people, and groups that come before them: some of each depth.
      const below = groups.slice(0, index)
      this.#truth.setMember(group, this.#random.one([...users, ...below, ...below, ...below]), true)
    }
  }

  #deleteAndAdd(userId: string): void {
    const epoch = this.#truth.users.get(userId)?.epoch ?? 0
    this.#truth.deleteUser(userId)
    this.#truth.users.set(userId, { enabled: true, epoch: epoch + 2, displayName: userId })
  }

  #deleteGroup(group: string): void {
    this.#truth.deleteGroup(group)
    this.#truth.groups.set(group, new Set())
  }

  readonly #all = [
    app('direct', {}, [...users]),
    app('grouped', { jwtAssertion: true }, ['outer']),
    app('open', { preAuthentication: 'passthrough' }),
  ]

  #published(): AssignedApplication[] {
    return this.#all
  }

  /** An assignment less, or an application. */
  #changed(): AssignedApplication[] {
    return this.#all.flatMap((assigned) => {
      const kind = this.#random.below(4)
      if (kind === 0 && assigned.application.name !== 'open') return []
      return kind === 1
        ? [{ ...assigned, principalIds: assigned.principalIds.slice(1) }]
        : [assigned]
    })
  }

  #restart(gateway: FarGateway): void {
    this.#pending = this.#pending.filter((pending) => pending.gateway !== gateway)
    void gateway.stop()
    gateway.start()
  }

  #rotate(): void {
    const id = String(Number(this.#ring[0]!.id) + 1)
    this.#ring = [{ id, secret: Buffer.alloc(32, Number(id)) }, ...this.#ring.slice(0, 2)]
    for (const { gateway } of this.#gateways) gateway.useKeys()
  }

  // --- time

  async #advance(stepMs: number): Promise<void> {
    const endsAt = this.#truth.nowAt + stepMs + this.#wait
    this.#wait = 0
    let ticks = 0
    while (this.#truth.nowAt < endsAt) {
      const chunk = Math.min(endsAt - this.#truth.nowAt, 400)
      this.#truth.note()
      this.#truth.nowAt += chunk
      for (const gateway of this.#gateways) gateway.pass()
      ticks += 1
      if (ticks % 40 === 0) for (const { gateway } of this.#gateways) gateway.sweep()
      await this.#settle()
    }
    const then = this.#afterWait
    this.#afterWait = undefined
    then?.()
    if (this.#wait > 0) await this.#advance(0)
  }

  /** Everything that happens without time passing has happened; then it is looked at. */
  async #settle(): Promise<void> {
    for (let turn = 0; turn < 6; turn += 1) await new Promise(setImmediate)
    this.#look()
    for (const gateway of this.#gateways) gateway.answerOrigins(this.#random.below(2) === 0)
    if (this.#pending.length > 0)
      for (let turn = 0; turn < 4; turn += 1) await new Promise(setImmediate)
    this.#takeAnswers()
  }

  // --- what is held against the model

  /** For how long what was allowed may still be allowed there. */
  #bound({ undisturbedSince }: FarGateway): number {
    return this.#truth.nowAt - undisturbedSince > settleMs + limitMs
      ? limitMs
      : feedSilenceLimitMs + settleMs
  }

  #explain(gateway: FarGateway, sessionId: string, applicationName: string): string {
    const { nowAt } = this.#truth
    const within = [10_000, 30_000, 60_000, 120_000].find((ms) =>
      this.#truth.wasAllowed(sessionId, applicationName, ms),
    )
    return `now ${nowAt - startAt}, allowed within ${within} ms, link ${gateway.isLinkUp}, directory ${gateway.isDirectoryUp}, undisturbed since ${gateway.undisturbedSince - startAt}, silent ${gateway.gateway.feed.isSilent()}`
  }

  /** Whatever is open at a gateway is allowed, or was a moment ago. */
  #look(): void {
    for (const gateway of this.#gateways) {
      for (const exchange of gateway.gateway.open) {
        const { session, compiled } = exchange
        const { name } = compiled.application
        if (name === 'open') continue
        assert.ok(session, 'an open exchange without a session')
        assert.ok(
          this.#truth.wasAllowed(session.sessionId, name, this.#bound(gateway)),
          `${session.sessionId} is at ${name} of gateway ${this.#gateways.indexOf(gateway)}, ${this.#explain(gateway, session.sessionId, name)}`,
        )
      }
    }
  }

  #takeAnswers(): void {
    this.#pending = this.#pending.filter(({ gateway, visit, cookie }) => {
      const match = /^HTTP\/1\.1 (\d+)[\s\S]*?\r\n\r\n/.exec(visit.wire.text)
      if (!match) return !visit.wire.ended
      const statusCode = Number(match[1])
      const { sessionId, applicationName } = visit
      if (applicationName === 'open') {
        assert.notEqual(match[0].includes('FEED_SILENT'), true)
        assert.ok([200, 404].includes(statusCode), `passthrough answered ${statusCode}`)
        return false
      }
      assert.ok([200, 302, 401, 403, 404, 503].includes(statusCode), `answered ${statusCode}`)
      if (statusCode === 200) {
        this.counts.allowed += 1
        assert.ok(
          this.#truth.wasAllowed(sessionId, applicationName, this.#bound(gateway)),
          `${sessionId} was let in to ${applicationName}, ${this.#explain(gateway, sessionId, applicationName)}`,
        )
      }
      const renewed = /\r\nSet-Cookie: (__Host-sallyport=[^;]+)/i.exec(match[0])
      if (renewed && cookie) this.#keep({ ...cookie, value: renewed[1]! })
      return false
    })
  }

  /** When all is well again, whoever may go in goes in, and whoever may not does not. */
  async #heal(): Promise<void> {
    for (const gateway of this.#gateways) {
      gateway.skewMs = 0
      gateway.setDirectory(true)
      gateway.healLink()
    }
    await this.#advance(15_000)
    for (const { sessionId } of this.#cookies.slice())
      for (const applicationName of names.slice(0, 2)) {
        const session = this.#truth.read(sessionId)
        if (!session) continue
        const gateway = this.#random.one(this.#gateways)
        const { setCookie } = gateway.gateway.sessionCookie(
          session,
          `${applicationName}.example.test`,
        )
        const visit = gateway.visit(sessionId, applicationName, setCookie.split(';')[0]!)
        while (!/^HTTP\/1\.1 \d+/.test(visit.wire.text)) {
          this.#truth.nowAt += 10
          gateway.pass()
          await new Promise(setImmediate)
          gateway.answerOrigins(false)
        }
        assert.equal(
          visit.wire.text.startsWith('HTTP/1.1 200'),
          this.#truth.isAllowed(sessionId, applicationName),
          `${sessionId} at ${applicationName} in the end: ${visit.wire.text.slice(0, 12)}`,
        )
      }
  }
}

/** @throws Error with the seed and the last steps, when something was let in that should not have been */
export async function runWorlds(firstSeed: number, lastSeed: number): Promise<World['counts']> {
  const total = { visits: 0, allowed: 0 }
  for (let seed = firstSeed; seed <= lastSeed; seed += 1) {
    const world = new World(seed)
    await world.run(150)
    total.visits += world.counts.visits
    total.allowed += world.counts.allowed
  }
  return total
}
