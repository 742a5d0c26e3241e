import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  copyDatabase,
  enrolmentTokens,
  openStore,
  readBackupFacts,
  replaceDatabase,
  type Store,
  sessions,
  settings,
  settleRestored,
  users,
  writeBackupFacts,
} from '@sallyport/store'
import { Writer } from './support/writing.ts'

function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-backup-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

async function open(t: TestContext, file: string): Promise<Store> {
  const store = await openStore({ kind: 'sqlite', file })
  t.after(() => store.close())
  return store
}

/** A closed database that says its name. */
async function make(t: TestContext, file: string, name: string): Promise<void> {
  const store = await open(t, file)
  await settings.saveSetting(store.db, 'name', name)
  await store.close()
}

async function nameIn(t: TestContext, file: string): Promise<string | undefined> {
  const store = await open(t, file)
  const name = await settings.findSetting(store.db, 'name')
  await store.close()
  return name
}

test('a backup that is made among writes holds each transaction whole or not at all', async (t) => {
  const dir = scratch(t)
  const store = await open(t, join(dir, 'sallyport.db'))
  let isWriting = true
  const writing = (async () => {
    for (let index = 0; isWriting; index += 1)
      await store.db.transaction().execute(async (db) => {
        await settings.saveSetting(db, `left-${index}`, 'x'.repeat(2_000))
        await settings.saveSetting(db, `right-${index}`, 'x'.repeat(2_000))
      })
  })()
  const acknowledged: number[] = []
  for (const name of ['a', 'b', 'c']) {
    const rows = await store.db.selectFrom('setting').select('key').execute()
    acknowledged.push(rows.length)
    await copyDatabase(store.db, join(dir, name))
  }
  isWriting = false
  await writing
  for (const [index, name] of ['a', 'b', 'c'].entries()) {
    const file = join(dir, name)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    writeBackupFacts(file, { name })
    assert.deepEqual(readBackupFacts(file), { name })
    const copy = await open(t, file)
    const keys = new Set(
      (await copy.db.selectFrom('setting').select('key').execute()).map(({ key }) => key),
    )
    assert.ok(keys.size >= acknowledged[index]!)
    for (const key of keys) {
      const other = key.startsWith('left')
        ? key.replace('left', 'right')
        : key.replace('right', 'left')
      assert.ok(keys.has(other), `${key} and ${other}`)
    }
    await copy.close()
  }
})

test('a copy never goes over a file that is there', async (t) => {
  const dir = scratch(t)
  const store = await open(t, join(dir, 'sallyport.db'))
  writeFileSync(join(dir, 'copy'), 'precious')
  await assert.rejects(copyDatabase(store.db, join(dir, 'copy')), { code: 'EEXIST' })
  assert.equal(readFileSync(join(dir, 'copy'), 'utf8'), 'precious')
})

test('what is no backup, cut off or altered is refused', async (t) => {
  const dir = scratch(t)
  const store = await open(t, join(dir, 'sallyport.db'))
  for (let index = 0; index < 200; index += 1)
    await settings.saveSetting(store.db, `key-${index}`, 'x'.repeat(500))
  const file = join(dir, 'backup')
  await copyDatabase(store.db, file)
  const refused = (bytes: Uint8Array, what: string) => {
    writeFileSync(join(dir, 'bad'), bytes)
    assert.throws(() => readBackupFacts(join(dir, 'bad')), { code: 'STORE_UNREADABLE' }, what)
  }
  refused(readFileSync(file), 'a database that is no backup')
  writeBackupFacts(file, { name: 'a' })
  const whole = readFileSync(file)
  refused(Buffer.alloc(0), 'empty')
  refused(Buffer.from('SQLite format 3\0'), 'a head only')
  refused(whole.subarray(0, 4_096), 'the first page')
  refused(whole.subarray(0, whole.length - 8_192), 'cut off')
  const altered = Buffer.from(whole)
  altered.fill(0, 8_192, 24_576)
  refused(altered, 'zeros in the middle')
})

test('a database in use is not replaced, and nothing of it is touched', async (t) => {
  const dir = scratch(t)
  const file = join(dir, 'sallyport.db')
  const by = join(dir, 'new.db')
  await make(t, by, 'new')
  mkdirSync(join(dir, 'aside'))
  // Another process, as a service is: locks do not hold within one.
  const writer = new Writer({ kind: 'sqlite', file }, 0)
  await writer.acknowledges(1)
  assert.throws(() => replaceDatabase(file, by, join(dir, 'aside'), () => assert.fail()), {
    code: 'STORE_IN_USE',
  })
  assert.ok(existsSync(by))
  await writer.kill()
  // What it had written is in its journal; the copy that is kept has all of it.
  replaceDatabase(file, by, join(dir, 'aside'), () => {})
  assert.equal(await nameIn(t, file), 'new')
  assert.ok(!existsSync(by))
  const kept = await open(t, join(dir, 'aside/sallyport.db'))
  assert.ok(await settings.findSetting(kept.db, 'left-0'))
})

test('a damaged database is replaced all the same, and kept with its journal', async (t) => {
  const dir = scratch(t)
  const file = join(dir, 'sallyport.db')
  writeFileSync(file, Buffer.alloc(10_000, 7))
  writeFileSync(`${file}-wal`, 'old journal')
  await make(t, join(dir, 'new.db'), 'new')
  mkdirSync(join(dir, 'aside'))
  replaceDatabase(file, join(dir, 'new.db'), join(dir, 'aside'), () => {})
  assert.equal(await nameIn(t, file), 'new')
  assert.equal(readFileSync(join(dir, 'aside/sallyport.db-wal'), 'utf8'), 'old journal')
  assert.equal(statSync(join(dir, 'aside/sallyport.db')).size, 10_000)
})

test('what fails before the replacement leaves the old database', async (t) => {
  const dir = scratch(t)
  const file = join(dir, 'sallyport.db')
  await make(t, file, 'old')
  await make(t, join(dir, 'new.db'), 'new')
  mkdirSync(join(dir, 'aside'))
  assert.throws(() =>
    replaceDatabase(file, join(dir, 'new.db'), join(dir, 'aside'), () => {
      throw new Error('no')
    }),
  )
  assert.equal(await nameIn(t, file), 'old')
})

test('after a restoration no session, no cookie and no unused token of before is good', async (t) => {
  const dir = scratch(t)
  const { db } = await open(t, join(dir, 'sallyport.db'))
  const ana = (await users.createUser(db, { userName: 'ana', displayName: 'Ana' }, 1))!
  const session = {
    id: 's',
    userId: ana.id,
    signInEpoch: ana.signInEpoch,
    methods: ['pwd'],
    signedInAt: 1,
    absoluteExpiresAt: 1e15,
    clientAddress: undefined,
    userAgent: undefined,
  }
  await sessions.createSession(db, session)
  const group = await db
    .insertInto('connectorGroup')
    .values({ id: 'g', name: 'default', createdAt: 1 })
    .returning('id')
    .executeTakeFirstOrThrow()
  for (const id of ['used', 'unused'])
    await enrolmentTokens.createEnrolmentToken(
      db,
      { id, tokenHash: id, groupId: group.id, expiresAt: 1e15 },
      1,
    )
  await enrolmentTokens.redeemEnrolmentToken(db, 'used', 'c', 2)
  assert.ok(await sessions.isLiveSession(db, 's', 2))
  await settleRestored(db, 3)
  assert.ok(!(await sessions.isLiveSession(db, 's', 4)))
  assert.equal((await sessions.listSessions(db))[0]!.endReason, 'restored')
  // Not even for one that was begun after the backup, with an epoch of that time.
  const epoch = (await users.findUserById(db, ana.id))!.signInEpoch
  assert.ok(epoch > ana.signInEpoch + 1_000)
  assert.deepEqual(
    (await enrolmentTokens.listEnrolmentTokens(db)).map(({ id }) => id),
    ['used'],
  )
})
