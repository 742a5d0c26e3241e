import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openStore } from '@sallyport/store'
import { sql } from 'kysely'

/** Runs the writer until it has acknowledged `count` rows, then kills it wherever it is. */
async function writeUntilKilled(file: string, start: number, count: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'writer.ts'), file, `${start}`],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const exited = once(child, 'exit')
  let text = ''
  const acknowledged = () => text.split('\n').length - 1
  for await (const chunk of child.stdout) {
    text += String(chunk)
    if (acknowledged() >= count) child.kill('SIGKILL')
  }
  const [, signal] = await exited
  assert.equal(signal, 'SIGKILL')
  return start + acknowledged() - 1
}

test('kill -9 in the middle of writing loses nothing that was acknowledged', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-crash-'))
  t.after(() => rm(directory, { recursive: true }))
  const file = join(directory, 'sallyport.db')
  let next = 0
  for (const count of [1, 7, 40, 150]) {
    const last = await writeUntilKilled(file, next, count)
    const store = await openStore({ kind: 'sqlite', file })
    const { rows: checks } = await sql<{ integrityCheck: string }>`PRAGMA integrity_check`.execute(
      store.db,
    )
    assert.deepEqual(checks, [{ integrityCheck: 'ok' }])
    const keys = new Set(
      (await store.db.selectFrom('setting').select('key').execute()).map(({ key }) => key),
    )
    await store.close()
    for (let index = 0; index <= last; index += 1)
      assert.ok(keys.has(`left-${index}`) && keys.has(`right-${index}`), `row ${index} is there`)
    const halves = [...keys].filter((key) => {
      const [side, index] = key.split('-')
      return !keys.has(`${side === 'left' ? 'right' : 'left'}-${index}`)
    })
    assert.deepEqual(halves, [])
    // A row may have been committed and killed before it was acknowledged; go on behind it.
    next = last + 2
    const gap = last + 1
    if (!keys.has(`left-${gap}`)) next = gap
  }
})
