import assert from 'node:assert/strict'
import { type ApplicationInput, applicationSchema } from '@sallyport/domain'
import { applications, logoutNotices, oidcModel, oidcSecrets, type Store } from '@sallyport/store'
import { type Kysely, sql } from 'kysely'
import { up } from '../src/migrations/0007-oidc.ts'
import { forBoth } from './support/databases.ts'

const testBoth = forBoth()
const [told, silent, direct] = [1, 2, 3].map(
  (count) => `7b0f53a1-54d0-4f6a-9a3e-0f6f6c3a2b0${count}`,
) as [string, string, string]

async function publish({ db }: Store, id: string, more: object): Promise<void> {
  const name = `app-${id.at(-1)}`
  const application = applicationSchema.parse({
    id,
    name,
    displayName: name,
    externalUrl: `https://${name}.example.com/`,
    internalUrl: `http://${name}.internal/`,
    ...more,
  } as ApplicationInput)
  await applications.createApplication(db, application, 1)
}

const oidc = (more: object = {}) => ({
  signOn: { method: 'oidc', redirectUris: ['https://app.example.com/callback'], ...more },
})

/** A session in which every application was used, by both of its clients. */
async function fill(store: Store): Promise<void> {
  await publish(store, told, oidc({ backChannelLogoutUri: 'https://app.example.com/out' }))
  await publish(store, silent, oidc())
  await publish(store, direct, { backChannelLogoutUrl: 'https://direct.example.com/out' })
  const clients = [told, silent, direct].flatMap((id) => [id, `oidc.${id}`])
  await oidcModel.saveOidcModel(
    store.db,
    { model: 'Session', id: 'cookie' },
    {
      uid: 'session',
      accountId: 'ana',
      authorizations: Object.fromEntries(clients.map((id) => [id, { sid: `sid of ${id}` }])),
    },
    10_000,
  )
}

testBoth(
  'who is told of an end is who asked for it, each by its own client',
  async (_, database) => {
    const store = await database.open()
    await fill(store)
    await oidcModel.deleteOidcSession(store.db, 'session', 5_000)
    await oidcModel.deleteOidcSession(store.db, 'session', 6_000)
    const notices = await logoutNotices.listLogoutNotices(store.db)
    assert.deepEqual(
      notices
        .map(({ clientId, sid, userId, endedAt, attempts }) => [
          ...[clientId, sid, userId, endedAt, attempts],
        ])
        .sort(),
      [
        [direct, `sid of ${direct}`, 'ana', 5_000, 0],
        [`oidc.${told}`, `sid of oidc.${told}`, 'ana', 5_000, 0],
      ].sort(),
    )
  },
)

testBoth(
  'a notice is taken by one, and is there again when that one has died',
  async (_, database) => {
    const store = await database.open()
    await fill(store)
    await oidcModel.deleteOidcSession(store.db, 'session', 5_000)
    const take = (nowAt: number) => logoutNotices.takeLogoutNotices(store.db, nowAt, nowAt + 60, 8)
    assert.equal((await take(4_999)).length, 0)
    const taken = (await Promise.all(Array.from({ length: 5 }, () => take(5_000)))).flat()
    assert.equal(taken.length, 2)
    assert.deepEqual(
      taken.map(({ attempts }) => attempts),
      [1, 1],
    )
    assert.equal(await logoutNotices.nextLogoutNoticeAt(store.db), 5_060)
    assert.equal((await take(5_059)).length, 0)
    const again = await take(5_060)
    assert.deepEqual(
      again.map(({ attempts }) => attempts),
      [2, 2],
    )
    await logoutNotices.deleteLogoutNotice(store.db, again[0]!.id)
    await logoutNotices.postponeLogoutNotice(store.db, again[1]!.id, 9_000)
    assert.equal(await logoutNotices.nextLogoutNoticeAt(store.db), 9_000)
  },
)

testBoth('a session ends by time once, and one that stands does not', async (_, database) => {
  const store = await database.open()
  await fill(store)
  await oidcModel.endExpiredOidcSessions(store.db, 10_000)
  assert.equal((await logoutNotices.listLogoutNotices(store.db)).length, 0)
  await oidcModel.endExpiredOidcSessions(store.db, 10_001)
  await oidcModel.endExpiredOidcSessions(store.db, 10_001)
  assert.equal((await logoutNotices.listLogoutNotices(store.db)).length, 2)
})

testBoth(
  'what requests write into a session at one moment is all kept, and what has ended stays ended',
  async (_, database) => {
    const store = await database.open()
    const session = { uid: 'session', accountId: 'ana' }
    const save = (payload: Record<string, unknown>, isKnown: boolean) =>
      oidcModel.saveOidcSession(store.db, 'cookie', payload, 10_000, isKnown)
    const find = () => oidcModel.findOidcModel(store.db, { model: 'Session', id: 'cookie' })
    await save(session, false)
    assert.deepEqual(await find(), session)
    const names = Array.from({ length: 10 }, (_, index) => `app-${index}`)
    await Promise.all(
      names.map((name) => save({ ...session, authorizations: { [name]: { sid: name } } }, true)),
    )
    const { authorizations } = (await find())!
    assert.deepEqual(Object.keys(authorizations as object).sort(), names)
    // Another person, or the same one again.
    await save({ ...session, uid: 'next' }, true)
    assert.deepEqual(await find(), { ...session, uid: 'next' })
    await oidcModel.deleteOidcSession(store.db, 'next', 5_000)
    await save({ ...session, uid: 'next' }, true)
    assert.equal(await find(), undefined)
  },
)

testBoth('secrets go with their application', async (_, database) => {
  const store = await database.open()
  await publish(store, told, oidc())
  const secret = { id: 's', applicationId: told, secretHash: 'x', createdAt: 1 }
  await oidcSecrets.addOidcSecret(store.db, secret)
  await oidcSecrets.noteOidcSecretUse(store.db, 's', 7)
  assert.deepEqual(await oidcSecrets.listOidcSecrets(store.db, told), [
    { ...secret, lastUsedAt: 7 },
  ])
  await applications.deleteApplication(store.db, told)
  assert.deepEqual(await oidcSecrets.listOidcSecrets(store.db, told), [])
})

testBoth(
  'what was to be told before an upgrade is still to be told after it',
  async (_, database) => {
    const store = await database.open()
    for (const table of ['logout_notice', 'oidc_client_secret'])
      await sql`DROP TABLE ${sql.table(table)}`.execute(store.db)
    const kept = { clientId: direct, userId: 'ana', sid: 'x', endedAt: 5_000 }
    await oidcModel.saveOidcModel(
      store.db,
      { model: 'BackChannelLogout', id: 'n1' },
      kept,
      undefined,
    )
    await up(store.db.withoutPlugins() as unknown as Kysely<unknown>)
    assert.deepEqual(await logoutNotices.listLogoutNotices(store.db), [
      { id: 'n1', ...kept, attempts: 0, nextAt: 5_000 },
    ])
    const left = await oidcModel.findOidcModel(store.db, { model: 'BackChannelLogout', id: 'n1' })
    assert.equal(left, undefined)
  },
)
