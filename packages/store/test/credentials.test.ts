import assert from 'node:assert/strict'
import { applicationSchema } from '@sallyport/domain'
import {
  applications,
  connectorGroups,
  connectors,
  credentials,
  groups,
  type Store,
  users,
} from '@sallyport/store'
import { forBoth } from './support/databases.ts'

const testBoth = forBoth()
const applicationId = '7b0f53a1-54d0-4f6a-9a3e-0f6f6c3a2b01'

async function fill(store: Store) {
  const { db } = store
  const application = applicationSchema.parse({
    id: applicationId,
    name: 'wiki',
    displayName: 'Wiki',
    externalUrl: 'https://wiki.example.com/',
    internalUrl: 'http://wiki.internal/',
  })
  await applications.createApplication(db, application, 1)
  const user = (await users.createUser(db, { userName: 'ana', displayName: 'Ana' }, 1))!
  const group = (await groups.createGroup(db, { name: 'finance' }, 1))!
  const { id: groupId } = (await connectorGroups.createConnectorGroup(db, { name: 'edge' }, 1))!
  for (const id of ['c1', 'c2'])
    await connectors.createConnector(
      db,
      {
        id,
        name: id,
        groupId,
        certificate: { serial: `0${id}`, notAfterAt: 9, publicKeyThumbprint: id },
      },
      1,
    )
  const set = (
    subject: credentials.CredentialSubject,
    version: number,
    connectorIds: readonly string[],
  ) =>
    credentials.setCredential(
      db,
      {
        applicationId,
        subject,
        origin: 'http://wiki.internal',
        action: 'basic',
        version,
        setBy: 'person',
        copies: connectorIds.map((connectorId) => ({ connectorId, sealed: `${connectorId}.x` })),
      },
      version,
    )
  return {
    user: { id: user.id, kind: 'user' } as const,
    group: { id: group.id, kind: 'group' } as const,
    set,
  }
}

testBoth('a credential takes the place of the one before, with its copies', async (_, database) => {
  const store = await database.open()
  const { user, set } = await fill(store)
  const id = await set(user, 5, ['c1', 'c2'])
  await credentials.markRefused(store.db, id, 5, 6)
  assert.equal(await set(user, 7, ['c2']), id)
  assert.deepEqual(await credentials.findCredential(store.db, applicationId, user), {
    id,
    applicationId,
    subjectId: user.id,
    subjectKind: 'user',
    origin: 'http://wiki.internal',
    action: 'basic',
    version: 7,
    setBy: 'person',
    updatedAt: 7,
    refusedAt: undefined,
  })
  assert.deepEqual(await credentials.listCopies(store.db, id), [
    { connectorId: 'c2', sealed: 'c2.x' },
  ])
})

testBoth('a refusal of an older version says nothing of the newer one', async (_, database) => {
  const store = await database.open()
  const { user, set } = await fill(store)
  const id = await set(user, 5, ['c1'])
  await set(user, 6, ['c1'])
  assert.equal(await credentials.markRefused(store.db, id, 5, 7), undefined)
  assert.equal((await credentials.markRefused(store.db, id, 6, 7))?.refusedAt, 7)
  assert.equal(await credentials.markRefused(store.db, id, 6, 8), undefined)
})

testBoth('a copy is added for the version that it was made of, once', async (_, database) => {
  const store = await database.open()
  const { user, group, set } = await fill(store)
  const id = await set(user, 5, ['c1'])
  await set(group, 5, ['c1', 'c2'])
  const toReseal = await credentials.listToReseal(store.db, [applicationId], 'c1', 'c2', 10)
  assert.deepEqual(
    toReseal.map((row) => [row.id, row.sealed]),
    [[id, 'c1.x']],
  )
  assert.deepEqual(await credentials.countCopies(store.db, 'c1'), { all: 2, onlyHere: 1 })
  const copy = { credentialId: id, fromConnectorId: 'c1', connectorId: 'c2', sealed: 'c2.y' }
  const here = new Set([applicationId])
  assert.deepEqual(await credentials.listToReseal(store.db, [], 'c1', 'c2', 10), [])
  assert.equal(await credentials.addCopy(store.db, new Set(), { ...copy, version: 5 }), false)
  // Who cannot open it has nothing to seal.
  const invented = { ...copy, version: 5, fromConnectorId: 'c2' }
  assert.equal(await credentials.addCopy(store.db, here, invented), false)
  assert.equal(await credentials.addCopy(store.db, here, { ...copy, version: 4 }), false)
  assert.equal(await credentials.addCopy(store.db, here, { ...copy, version: 5 }), true)
  assert.equal(await credentials.addCopy(store.db, here, { ...copy, version: 5 }), false)
  assert.deepEqual(await credentials.listToReseal(store.db, [applicationId], 'c1', 'c2', 10), [])
  assert.deepEqual(await credentials.countCopies(store.db, 'c1'), { all: 2, onlyHere: 0 })
})

testBoth('attack 22: who is in thousands of groups has a password too', async (_, database) => {
  const store = await database.open()
  const { user, group, set } = await fill(store)
  await set(group, 5, ['c1'])
  await set({ id: 'somebody', kind: 'user' }, 5, ['c1'])
  const others = Array.from({ length: 3_000 }, (_, index) => `group ${index}`)
  const subjects: credentials.CredentialSubject[] = [
    user,
    // Of the other kind: another subject.
    { id: 'somebody', kind: 'group' },
    ...others.map((id) => ({ id, kind: 'group' }) as const),
    group,
  ]
  const found = await credentials.listCredentials(store.db, { applicationId, subjects })
  assert.deepEqual(
    found.map(({ subjectId }) => subjectId),
    [group.id],
  )
})

testBoth('credentials go with the person, the group and the application', async (_, database) => {
  const store = await database.open()
  const { user, group, set } = await fill(store)
  await set(user, 5, ['c1'])
  await set(group, 5, ['c1'])
  await users.deleteUser(store.db, user.id, 6)
  assert.deepEqual(
    (await credentials.listCredentials(store.db)).map((row) => row.subjectKind),
    ['group'],
  )
  await groups.deleteGroup(store.db, group.id, 6)
  assert.deepEqual(await credentials.listCredentials(store.db), [])
  await set({ id: 'somebody', kind: 'user' }, 5, ['c1'])
  await applications.deleteApplication(store.db, applicationId)
  assert.deepEqual(await credentials.listCredentials(store.db), [])
  assert.deepEqual(await credentials.countCopies(store.db, 'c1'), { all: 0, onlyHere: 0 })
})

testBoth(
  'another sealing key is not approved, and what was sealed to the one before is gone',
  async (_, database) => {
    const store = await database.open()
    const { user, set } = await fill(store)
    const { db } = store
    assert.equal(await connectors.setSealingKey(db, 'c1', 'key-1'), true)
    assert.equal(await connectors.approveSealingKey(db, 'c1', 'key-2', 'proof'), false)
    assert.equal(await connectors.approveSealingKey(db, 'c1', 'key-1', 'proof'), true)
    const id = await set(user, 5, ['c1', 'c2'])
    assert.equal(await connectors.setSealingKey(db, 'c1', 'key-1'), false)
    assert.equal((await connectors.findConnectorById(db, 'c1'))?.sealingKeyApproval, 'proof')
    assert.equal(await connectors.setSealingKey(db, 'c1', 'key-2'), true)
    assert.equal((await connectors.findConnectorById(db, 'c1'))?.sealingKeyApproval, undefined)
    assert.deepEqual(
      (await credentials.listCopies(db, id)).map(({ connectorId }) => connectorId),
      ['c2'],
    )
  },
)
