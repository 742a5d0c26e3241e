import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFile, mkdir, readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { openStore, type Store } from '@sallyport/store'
import { Postgres } from '@sallyport/testkit/postgres'
import { lastFirst } from '@sallyport/testkit/scope'
import { sql } from 'kysely'
import { forBoth, makeFile } from './support/databases.ts'
import { checkPairs, Writer } from './support/writing.ts'

const testBoth = forBoth()

async function checkFile({ db }: Store): Promise<void> {
  const { rows } = await sql<{ integrityCheck: string }>`PRAGMA integrity_check`.execute(db)
  assert.deepEqual(rows, [{ integrityCheck: 'ok' }])
}

testBoth(
  'kill -9 in the middle of writing loses nothing that was acknowledged',
  async (t, database) => {
    const { options } = database
    const password = options.kind === 'postgresql' ? await options.password!() : undefined
    let next = 0
    for (const count of [1, 7, 40, 150]) {
      const writer = new Writer({ ...options, password }, next)
      t.after(() => writer.kill())
      await writer.acknowledges(count)
      await writer.kill()
      assert.equal(writer.process.signalCode, 'SIGKILL')
      const store = await openStore(options)
      if (store.kind === 'sqlite') await checkFile(store)
      next = await checkPairs(store, writer.last)
      await store.close()
    }
  },
)

test('kill -9 of the database server loses nothing that was acknowledged', async (t) => {
  const scope = lastFirst(t)
  const server = await Postgres.start(scope, { fsync: 'on' })
  const options = await server.createDatabase()
  let next = 0
  for (const count of [1, 7, 40, 150]) {
    const writer = new Writer({ ...options, password: server.password }, next)
    scope.after(() => writer.kill())
    await writer.acknowledges(count)
    const closed = once(writer.process, 'close')
    await server.stop('SIGKILL')
    // Its change fails, and it ends by that.
    const [code] = await closed
    assert.equal(code, 1)
    await server.run()
    const store = await openStore(options)
    next = await checkPairs(store, writer.last)
    await store.close()
  }
})

/** A sequence that is the same for the same seed: mulberry32. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Stops every thread of a process where it stands. */
async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  while (!/^State:\s*T/m.test(await readFile(`/proc/${pid}/status`, 'utf8'))) await setImmediate()
}

// A power cut ends everything at one instant; so does SIGSTOP, while the files are copied.
test('a power cut at any point loses nothing that was acknowledged, and breaks no file', async (t) => {
  const scope = lastFirst(t)
  const seed = Number(process.env.FUZZ_SEED ?? 20_261_125)
  const random = seeded(seed)
  const file = await makeFile(scope)
  // So that the journal is often taken into the database, and cut there too.
  const writer = new Writer({ kind: 'sqlite', file, checkpointPages: 60 }, 0)
  scope.after(() => writer.kill())
  const copy = await makeFile(scope)
  await mkdir(dirname(copy))
  let cutShort = 0
  // Sixty points, and more where none was yet between a commit and its acknowledgement.
  for (let point = 0; point < 60 || (cutShort === 0 && point < 600); point += 1) {
    await writer.acknowledges(1 + Math.floor(random() * 12))
    for (let turns = Math.floor(random() * 40); turns > 0; turns -= 1) await setImmediate()
    await freeze(writer.process.pid!)
    const { last } = writer
    await copyFile(file, copy)
    await copyFile(`${file}-wal`, `${copy}-wal`)
    const store = await openStore({ kind: 'sqlite', file: copy })
    try {
      await checkFile(store)
      if ((await checkPairs(store, last)) > last + 1) cutShort += 1
    } catch (cause) {
      throw new Error(`seed ${seed}, point ${point}`, { cause })
    } finally {
      await store.close()
    }
    writer.process.kill('SIGCONT')
  }
  const { size } = await stat(file)
  assert.ok(size > 500_000, `the journal was taken into the database, which has ${size} bytes`)
  assert.ok(cutShort > 0, 'some were cut between the commit and its acknowledgement')
})
