import assert from 'node:assert/strict'
import test from 'node:test'
import type { IdentitySession } from '@sallyport/domain'
import type { SessionFacts } from '../src/session-cookie.ts'
import { Sessions } from '../src/sessions.ts'

const at = 1_800_000_000_000
const hour = 3_600_000

function sessionOf(sessionId: string, userId: string, groups: string[] = []): IdentitySession {
  return {
    sessionId,
    userId,
    signInEpoch: 1,
    methods: ['pwd'],
    signedInAt: at,
    absoluteExpiresAt: at + 12 * hour,
    claims: {
      objectId: userId,
      userName: userId,
      displayName: userId,
      mail: undefined,
      groups: groups.map((id) => ({ id, name: id })),
    },
  }
}

function factsOf(sessionId: string, userId: string, signInEpoch = 1): SessionFacts {
  return {
    sessionId,
    userId,
    signInEpoch,
    methods: ['pwd'],
    signedInAt: at,
    sealedAt: at,
    expiresAt: at + hour,
    absoluteExpiresAt: at + 12 * hour,
  }
}

/** A directory whose answers come when the test says so. */
class Directory {
  readonly waiting: {
    resolve(session: IdentitySession | undefined): void
    reject(error: Error): void
  }[] = []

  readSession = (): Promise<IdentitySession | undefined> =>
    new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))

  answer(session: IdentitySession | undefined): void {
    this.waiting.shift()!.resolve(session)
  }
}

test('requests that miss at once ask one question, and its answer is kept', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const facts = factsOf('s1', 'ana')
  assert.equal(sessions.find(facts), undefined)
  const answers = Promise.all([sessions.read(facts), sessions.read(facts), sessions.read(facts)])
  assert.equal(directory.waiting.length, 1)
  const session = sessionOf('s1', 'ana', ['staff'])
  directory.answer(session)
  assert.deepEqual(await answers, [session, session, session])
  assert.deepEqual(sessions.find(facts)?.principalIds, ['ana', 'staff'])
  assert.equal(sessions.find(facts), sessions.find(facts))
})

test('two cookies of one session share its claims and keep their own times', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const reading = sessions.read(factsOf('s1', 'ana'))
  directory.answer(sessionOf('s1', 'ana'))
  await reading
  const renewed = { ...factsOf('s1', 'ana'), expiresAt: at + 2 * hour }
  assert.equal(sessions.find(factsOf('s1', 'ana'))?.expiresAt, at + hour)
  assert.equal(sessions.find(renewed)?.expiresAt, at + 2 * hour)
})

test('a session that has ended, or is another user than the cookie says, gives nothing', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const ended = sessions.read(factsOf('s1', 'ana'))
  directory.answer(undefined)
  assert.equal(await ended, undefined)
  const foreign = sessions.read(factsOf('s2', 'ana'))
  directory.answer(sessionOf('s2', 'bob'))
  assert.equal(await foreign, undefined)
  assert.equal(sessions.find(factsOf('s2', 'ana')), undefined)
  assert.equal(sessions.find(factsOf('s2', 'bob')), undefined)
})

test('a question that failed is asked again by the next request', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const facts = factsOf('s1', 'ana')
  const failed = sessions.read(facts)
  directory.waiting.shift()!.reject(new Error('away'))
  await assert.rejects(failed, /away/)
  const second = sessions.read(facts)
  directory.answer(sessionOf('s1', 'ana'))
  assert.equal((await second)?.userId, 'ana')
})

test('an answer that is older than a change of claims is neither given nor kept', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const facts = factsOf('s1', 'ana')
  const reading = sessions.read(facts)
  sessions.apply({ kind: 'claims-changed', userId: 'ana', at })
  directory.answer(sessionOf('s1', 'ana', ['admins']))
  await new Promise(setImmediate)
  assert.equal(sessions.find(facts), undefined)
  directory.answer(sessionOf('s1', 'ana', []))
  assert.deepEqual((await reading)?.claims.groups, [])
  assert.deepEqual(sessions.find(facts)?.principalIds, ['ana'])
})

test('changes of other people do not hold an answer up', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const reading = sessions.read(factsOf('s1', 'ana'))
  for (let count = 0; count < 1_000; count += 1)
    sessions.apply({ kind: 'claims-changed', userId: `u${count}`, at })
  directory.answer(sessionOf('s1', 'ana'))
  assert.equal((await reading)?.userId, 'ana')
})

test('a question whose answers are always stale is given up', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const reading = sessions.read(factsOf('s1', 'ana'))
  const failed = assert.rejects(reading, /claims changed/)
  for (let attempt = 0; attempt < 5; attempt += 1) {
    sessions.apply({ kind: 'claims-changed', userId: 'ana', at })
    directory.answer(sessionOf('s1', 'ana'))
    await new Promise(setImmediate)
  }
  await failed
  assert.equal(directory.waiting.length, 0)
})

test('changed claims are forgotten for every session of the person, and for nobody else', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  for (const [sessionId, userId] of [
    ['s1', 'ana'],
    ['s2', 'ana'],
    ['s3', 'bob'],
  ] as const) {
    const reading = sessions.read(factsOf(sessionId, userId))
    directory.answer(sessionOf(sessionId, userId))
    await reading
  }
  sessions.apply({ kind: 'claims-changed', userId: 'ana', at })
  assert.equal(sessions.find(factsOf('s1', 'ana')), undefined)
  assert.equal(sessions.find(factsOf('s2', 'ana')), undefined)
  assert.ok(sessions.find(factsOf('s3', 'bob')))
})

test('a session that has ended stays so until no cookie of it can live', () => {
  const sessions = new Sessions(new Directory())
  const facts = factsOf('s1', 'ana')
  assert.equal(sessions.hasEnded(facts), false)
  sessions.apply({ kind: 'session-ended', sessionId: 's1', at })
  assert.equal(sessions.hasEnded(facts), true)
  assert.equal(sessions.hasEnded(factsOf('s2', 'ana')), false)
  sessions.prune(at + 12 * hour, 12 * hour)
  assert.equal(sessions.hasEnded(facts), true)
  sessions.prune(at + 12 * hour + 1, 12 * hour)
  assert.equal(sessions.hasEnded(facts), false)
})

test('a raised epoch ends what was signed in before it, whatever order events come in', () => {
  const sessions = new Sessions(new Directory())
  sessions.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 5, at })
  sessions.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 3, at })
  assert.equal(sessions.hasEnded(factsOf('s1', 'ana', 4)), true)
  assert.equal(sessions.hasEnded(factsOf('s1', 'ana', 5)), false)
  assert.equal(sessions.hasEnded(factsOf('s1', 'bob', 0)), false)
  sessions.prune(at + 12 * hour + 1, 12 * hour)
  assert.equal(sessions.hasEnded(factsOf('s1', 'ana', 4)), false)
})

test('claims of many sessions are kept up to a limit', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory, 2)
  for (const sessionId of ['s1', 's2', 's3']) {
    const reading = sessions.read(factsOf(sessionId, 'ana'))
    directory.answer(sessionOf(sessionId, 'ana'))
    await reading
  }
  assert.equal(sessions.find(factsOf('s1', 'ana')), undefined)
  assert.ok(sessions.find(factsOf('s2', 'ana')))
  assert.ok(sessions.find(factsOf('s3', 'ana')))
})

test('ten thousand changes of claims cost no search through fifty thousand sessions each', async () => {
  const sessions = new Sessions({ readSession: async (id) => sessionOf(id, `u${id}`) })
  await Promise.all(
    Array.from({ length: 20_000 }, (_, index) => sessions.read(factsOf(`${index}`, `u${index}`))),
  )
  const startedMs = performance.now()
  for (let count = 0; count < 10_000; count += 1)
    sessions.apply({ kind: 'claims-changed', userId: `u${count}`, at })
  assert.ok(performance.now() - startedMs < 500)
})

test('a session is in use when it is found, and that is said once', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const reading = sessions.read(factsOf('s1', 'ana'))
  directory.answer(sessionOf('s1', 'ana'))
  await reading
  assert.deepEqual(sessions.takeUsed(), ['s1'])
  assert.deepEqual(sessions.takeUsed(), [])
  sessions.find(factsOf('s1', 'ana'))
  assert.deepEqual(sessions.takeUsed(), ['s1'])
})

test('a session that ended while it was read is not remembered, however long ago that is', async () => {
  const directory = new Directory()
  const sessions = new Sessions(directory)
  const facts = factsOf('s1', 'ana')
  const reading = sessions.read(facts)
  sessions.apply({ kind: 'session-ended', sessionId: 's1', at })
  directory.answer(sessionOf('s1', 'ana'))
  while (directory.waiting.length === 0) await new Promise(setImmediate)
  directory.answer(undefined)
  assert.equal(await reading, undefined)
  // Of an ending whose sender had a wrong clock nothing is left soon.
  sessions.prune(at + hour, hour / 2)
  assert.equal(sessions.find(facts), undefined)
})
