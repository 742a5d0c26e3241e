import assert from 'node:assert/strict'
import test from 'node:test'
import { groups, oidcModel, type Store, sessions, users } from '@sallyport/store'
import { forBoth } from './support/databases.ts'

const testBoth = forBoth()

async function addUser({ db }: Store, userName: string): Promise<string> {
  return (await users.createUser(db, { userName, displayName: userName }, 1))!.id
}

async function addGroup({ db }: Store, name: string, ...members: groups.Member[]): Promise<string> {
  const { id } = (await groups.createGroup(db, { name }, 1))!
  for (const member of members) await groups.addMember(db, id, member, 1)
  return id
}

const user = (id: string): groups.Member => ({ id, kind: 'user' })
const group = (id: string): groups.Member => ({ id, kind: 'group' })

testBoth('a user name is taken in every case it can be written in', async (_, database) => {
  const store = await database.open()
  const { db } = store
  const created = await users.createUser(db, { userName: ' Ana@X.test', displayName: 'Ana' }, 7)
  assert.deepEqual(created, {
    id: created!.id,
    userName: 'ana@x.test',
    displayName: 'Ana',
    mail: undefined,
    onPremisesUserPrincipalName: undefined,
    onPremisesSamAccountName: undefined,
    onPremisesDomainName: undefined,
    enabled: true,
    hasPassword: false,
    signInEpoch: 1,
    createdAt: 7,
    updatedAt: 7,
  })
  assert.equal(
    await users.createUser(db, { userName: 'ANA@x.TEST', displayName: 'Other' }, 8),
    undefined,
  )
  assert.deepEqual(await users.findUserByName(db, 'aNa@x.test'), created)
  assert.deepEqual(await users.findUserById(db, created!.id), created)
  await addUser(store, 'bea')
  await addUser(store, 'cid')
  const names = async (page: Parameters<typeof users.listUsers>[1]) =>
    (await users.listUsers(db, page)).map(({ userName }) => userName)
  assert.deepEqual(await names({ limit: 2 }), ['ana@x.test', 'bea'])
  assert.deepEqual(await names({ after: 'bea', limit: 2 }), ['cid'])
})

test('names that look alike, mislead or break something are no user names', () => {
  for (const name of ['ana', 'ana.b@corp.example', "o'neil", 'svc_1', 'a', 'x-y'])
    assert.equal(users.isUserName(name), true, name)
  for (const name of [
    '',
    'Ana',
    'a@evil@corp',
    '@corp',
    'ana@',
    'ana b',
    '\u0430na',
    'ana\u0000',
    'ana\n',
    '.ana',
    'ana.',
    'a..b',
    'a@b..c',
    'ana/x',
    'a\\b',
    'x'.repeat(114),
  ])
    assert.equal(users.isUserName(name), false, JSON.stringify(name))
})

testBoth(
  'whatever ends access raises the epoch, tells the feed, and empties the provider',
  async (_, database) => {
    const store = await database.open()
    const { db } = store
    const id = await addUser(store, 'ana')
    let epoch = 1
    for (const change of [
      () => users.setPassword(db, id, 'hash', 9),
      () => users.setEnabled(db, id, false, 9),
      () => users.setEnabled(db, id, true, 9),
      () => users.endAllSessions(db, id, 9),
    ]) {
      await oidcModel.saveOidcModel(db, { model: 'Grant', id: 'g' }, { accountId: id }, 100)
      epoch += 1
      assert.deepEqual(await change(), [
        { kind: 'user-epoch', userId: id, signInEpoch: epoch, at: 9 },
      ])
      assert.equal((await users.findUserById(db, id))!.signInEpoch, epoch)
      assert.equal(await oidcModel.findOidcModel(db, { model: 'Grant', id: 'g' }), undefined)
    }
    assert.equal(await users.setEnabled(db, 'nobody', false, 9), undefined)
    assert.equal(await users.updateUser(db, 'nobody', { displayName: 'x' }, 9), undefined)
    assert.equal(await users.deleteUser(db, 'nobody', 9), undefined)
  },
)

testBoth('changes inside a transaction that fails have not happened', async (_, database) => {
  const store = await database.open()
  const id = await addUser(store, 'ana')
  await assert.rejects(
    store.db.transaction().execute(async (db) => {
      await users.setEnabled(db, id, false, 9)
      await users.deleteUser(db, id, 9)
      throw new Error('undone')
    }),
    { message: 'undone' },
  )
  assert.deepEqual((await users.findUserById(store.db, id))!.enabled, true)
})

testBoth('groups are followed to any depth, and a circle of them ends', async (_, database) => {
  const store = await database.open()
  const { db } = store
  const ana = await addUser(store, 'ana')
  const bea = await addUser(store, 'bea')
  const one = await addGroup(store, 'one', user(ana))
  const two = await addGroup(store, 'two', group(one))
  const three = await addGroup(store, 'three', group(two), user(bea))
  await addGroup(store, 'unrelated')
  assert.deepEqual(
    await groups.addMember(db, one, group(three), 5),
    [ana, bea].sort().map((userId) => ({ kind: 'claims-changed', userId, at: 5 })),
  )
  assert.deepEqual(await groups.addMember(db, one, group(one), 5).then((e) => e!.length), 2)
  const names = async (id: string) =>
    (await groups.transitiveGroups(db, id)).map(({ name }) => name)
  assert.deepEqual(await names(ana), ['one', 'three', 'two'])
  assert.deepEqual(await names(bea), ['one', 'three', 'two'])
  assert.deepEqual((await groups.usersBelow(db, two)).sort(), [ana, bea].sort())
  assert.deepEqual(await names('nobody'), [])
})

testBoth('an ID that a user and a group share does not mix them up', async (_, database) => {
  const store = await database.open()
  const { db } = store
  await users.createUser(db, { id: 'same', userName: 'ana', displayName: 'Ana' }, 1)
  await groups.createGroup(db, { id: 'same', name: 'same' }, 1)
  const top = await addGroup(store, 'top', group('same'))
  assert.deepEqual(await groups.transitiveGroups(db, 'same'), [])
  assert.deepEqual(await groups.usersBelow(db, top), [])
})

testBoth(
  'leaving a group tells of everybody who was in it through the member',
  async (_, database) => {
    const store = await database.open()
    const { db } = store
    const ana = await addUser(store, 'ana')
    const inner = await addGroup(store, 'inner', user(ana))
    const outer = await addGroup(store, 'outer', group(inner))
    const changed = [{ kind: 'claims-changed', userId: ana, at: 5 }]
    assert.deepEqual(await groups.addMember(db, outer, group(inner), 5), [])
    assert.deepEqual(await groups.removeMember(db, outer, group(inner), 5), changed)
    assert.equal(await groups.removeMember(db, outer, group(inner), 5), undefined)
    assert.equal(await groups.addMember(db, outer, user('nobody'), 5), undefined)
    assert.equal(await groups.addMember(db, 'none', user(ana), 5), undefined)
    await groups.addMember(db, outer, group(inner), 5)
    assert.deepEqual(await groups.deleteGroup(db, inner, 5), [
      ...changed,
      { kind: 'configuration-changed', at: 5 },
    ])
    assert.deepEqual(await groups.transitiveGroups(db, ana), [])
    assert.deepEqual(await groups.listMembers(db, outer), [])
    assert.equal(await groups.deleteGroup(db, inner, 5), undefined)
    assert.equal(await groups.createGroup(db, { name: 'outer' }, 5), undefined)
  },
)

testBoth(
  'a deleted user leaves no membership, assignment, token or live session',
  async (_, database) => {
    const store = await database.open()
    const { db } = store
    const ana = await addUser(store, 'ana')
    const staff = await addGroup(store, 'staff', user(ana))
    await db
      .insertInto('application')
      .values({ id: 'app', name: 'app', definition: '{}', createdAt: 1, updatedAt: 1 })
      .execute()
    await db
      .insertInto('assignment')
      .values({ applicationId: 'app', principalId: ana, principalKind: 'user' })
      .execute()
    await beginSession(store, 's', ana)
    assert.deepEqual(await users.deleteUser(db, ana, 9), [
      { kind: 'user-epoch', userId: ana, signInEpoch: 2, at: 9 },
      { kind: 'configuration-changed', at: 9 },
    ])
    assert.deepEqual(await groups.listMembers(db, staff), [])
    assert.deepEqual(await db.selectFrom('assignment').selectAll().execute(), [])
    const [row] = await sessions.listSessions(db)
    assert.deepEqual([row!.endedAt, row!.endReason, row!.userName], [9, 'user-deleted', undefined])
    assert.deepEqual(await sessions.listSessions(db, { liveAt: 10 }), [])
  },
)

function beginSession({ db }: Store, id: string, userId: string): Promise<void> {
  return sessions.createSession(db, {
    id,
    userId,
    signInEpoch: 1,
    methods: ['pwd'],
    signedInAt: 5,
    absoluteExpiresAt: 100,
    clientAddress: '192.0.2.1',
    userAgent: undefined,
  })
}

testBoth('a session stands until its end, its limit, or its user falls', async (_, database) => {
  const store = await database.open()
  const { db } = store
  const ana = await addUser(store, 'ana')
  await beginSession(store, 's', ana)
  const stands = (at: number) => sessions.isLiveSession(db, 's', at)
  assert.deepEqual([await stands(99), await stands(100)], [true, false])
  assert.equal((await sessions.listSessions(db, { userId: ana, liveAt: 99 })).length, 1)
  assert.equal(await sessions.endSession(db, 's', 'administrator', 50), ana)
  assert.equal(await sessions.endSession(db, 's', 'signed-out', 51), undefined)
  assert.equal(await sessions.findIdentitySession(db, 's', 60), undefined)
  assert.equal((await sessions.listSessions(db))[0]!.endReason, 'administrator')
  await sessions.deleteSessionsBefore(db, 100)
  assert.equal((await sessions.listSessions(db)).length, 1)
  await sessions.deleteSessionsBefore(db, 101)
  assert.deepEqual(await sessions.listSessions(db), [])
})

testBoth(
  'a code is consumed once, and saving it again does not make it fresh',
  async (_, database) => {
    const { db } = await database.open()
    const key = { model: 'AuthorizationCode', id: 'c' }
    await oidcModel.saveOidcModel(db, key, { grantId: 'g', value: 1 }, 100)
    const results = await Promise.all(
      Array.from({ length: 30 }, () => oidcModel.consumeOidcModel(db, key, 5_000)),
    )
    assert.equal(results.filter(Boolean).length, 1)
    await oidcModel.saveOidcModel(db, key, { grantId: 'g', value: 2 }, 100)
    assert.deepEqual(await oidcModel.findOidcModel(db, key), {
      grantId: 'g',
      value: 2,
      consumed: 5,
    })
    assert.equal(await oidcModel.consumeOidcModel(db, key, 6_000), false)
    assert.equal(await oidcModel.consumeOidcModel(db, { ...key, id: 'x' }, 6_000), false)
    const deleted = await Promise.all(
      Array.from({ length: 30 }, () => oidcModel.deleteOidcModel(db, key)),
    )
    assert.equal(deleted.filter(Boolean).length, 1)
    assert.equal(await oidcModel.findOidcModel(db, key), undefined)
  },
)

testBoth(
  'the end of a provider session takes its grants, codes and tokens, and no others',
  async (_, database) => {
    const { db } = await database.open()
    const save = (model: string, id: string, payload: oidcModel.OidcPayload) =>
      oidcModel.saveOidcModel(db, { model, id }, payload, 100)
    await save('Session', 'cookie', { uid: 'u', authorizations: { hr: { grantId: 'g' }, x: {} } })
    await save('Session', 'other', { uid: 'v', authorizations: { hr: { grantId: 'h' } } })
    for (const grantId of ['g', 'h']) {
      await save('Grant', grantId, {})
      await save('AuthorizationCode', `code ${grantId}`, { grantId })
      await save('AccessToken', `token ${grantId}`, { grantId })
    }
    await oidcModel.deleteOidcSession(db, 'u', 1)
    await oidcModel.deleteOidcSession(db, 'unknown', 1)
    const left = await db.selectFrom('oidcModel').select('id').orderBy('id').execute()
    assert.deepEqual(
      left.map(({ id }) => id),
      ['code h', 'h', 'other', 'token h'],
    )
    assert.equal((await oidcModel.findOidcModelByUid(db, 'Session', 'v'))!.uid, 'v')
    await oidcModel.deleteOidcModelsOfGrant(db, 'AccessToken', 'h')
    assert.equal(
      await oidcModel.findOidcModel(db, { model: 'AccessToken', id: 'token h' }),
      undefined,
    )
  },
)
