import assert from 'node:assert/strict'
import test from 'node:test'
import { accessState, type Store, sessions, users } from '@sallyport/store'
import { lastFirst } from '@sallyport/testkit/scope'
import { forBoth, makeFile, useDatabase } from './support/databases.ts'

const at = 1_800_000_000_000
const hour = 3_600_000

const testBoth = forBoth()

async function signIn(store: Store, userName: string, id: string): Promise<string> {
  const user =
    (await users.findUserByName(store.db, userName)) ??
    (await users.createUser(store.db, { userName, displayName: userName }, at))
  await sessions.createSession(store.db, {
    id,
    userId: user!.id,
    signInEpoch: user!.signInEpoch,
    methods: ['pwd'],
    signedInAt: at,
    absoluteExpiresAt: at + 12 * hour,
    clientAddress: undefined,
    userAgent: undefined,
  })
  return user!.id
}

testBoth(
  'the deny-set names every session that a cookie could still claim, and no other',
  async (_, database) => {
    const store = await database.open()
    const { db } = store
    await signIn(store, 'live', 'live')
    await signIn(store, 'out', 'out')
    await sessions.endSession(db, 'out', 'signed-out', at + 1)
    const raised = await signIn(store, 'raised', 'raised')
    await signIn(store, 'raised', 'raised too')
    await users.setPassword(db, raised, 'x', at + 2)
    await signIn(store, 'raised', 'after it')
    const disabled = await signIn(store, 'disabled', 'disabled')
    await users.setEnabled(db, disabled, false, at + 3)
    const gone = await signIn(store, 'gone', 'gone')
    await users.deleteUser(db, gone, at + 4)
    const denySet = await accessState.readDenySet(db, at + hour)
    assert.deepEqual(
      denySet.endedSessions.toSorted((a, b) => a.at - b.at),
      [
        { sessionId: 'out', at: at + 1 },
        { sessionId: 'gone', at: at + 4 },
      ],
    )
    assert.deepEqual(
      new Set(denySet.epochs),
      new Set([
        { userId: raised, signInEpoch: 2, at: at + hour },
        { userId: disabled, signInEpoch: 2, at: at + hour },
      ]),
    )
    const later = await accessState.readDenySet(db, at + 12 * hour)
    assert.deepEqual(later, {
      endedSessions: [],
      epochs: [],
      revokedConnectorIds: [],
      connectorGroups: [],
    })
  },
)

test('a store that cannot be asked proves nothing, and proves again when it can', async (t) => {
  const scope = lastFirst(t)
  const store = await useDatabase(scope, {
    kind: 'sqlite',
    file: await makeFile(scope),
  }).open({ waitLimitMs: 20 })
  const held = Promise.withResolvers<void>()
  const holding = Promise.withResolvers<void>()
  const transaction = store.db.transaction().execute(async () => {
    holding.resolve()
    await held.promise
  })
  await holding.promise
  await assert.rejects(store.prove(), { code: 'STORE_BUSY' })
  held.resolve()
  await transaction
  await store.prove()
})
