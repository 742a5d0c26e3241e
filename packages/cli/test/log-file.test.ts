import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { LogFile, noRotation } from '../src/log-file.ts'
import { scratch } from './support/programs.ts'
import { seeded } from './support/random.ts'

const hear = (error: unknown) => assert.fail(String(error))

function writeAll(log: LogFile, text: string): void {
  const bytes = Buffer.from(text)
  for (let written = 0; written < bytes.length; ) written += log.write(bytes, written)
}

/** All lines of all files, oldest file first. */
const linesIn = (folder: string) =>
  readdirSync(folder)
    .sort((a, b) => (a === 'access.log' ? 1 : b === 'access.log' ? -1 : a.localeCompare(b)))
    .flatMap((name) => {
      const text = readFileSync(join(folder, name), 'utf8')
      assert.ok(text === '' || text.endsWith('\n'), `${name} ends with a whole line`)
      return text.split('\n').slice(0, -1)
    })

test('a file that is full is put aside between two lines, and no line is lost or doubled', (t) => {
  const folder = scratch(t)
  const random = seeded(7)
  let nowAt = Date.UTC(2026, 0, 31)
  const log = new LogFile(
    join(folder, 'access.log'),
    { maxBytes: 10_000, maxAgeMs: 0, keep: 1_000 },
    hear,
    () => nowAt,
  )
  const expected: string[] = []
  for (let round = 0; round < 500; round++) {
    let text = ''
    for (let count = Math.floor(random() * 8); count >= 0; count--) {
      const line = `${expected.length} ${'x'.repeat(Math.floor(random() * 900))}`
      expected.push(line)
      text += `${line}\n`
    }
    // As when a disk is slow or full: it may be cut anywhere, and the rest comes later.
    const at = Math.floor(random() * (text.length + 1))
    writeAll(log, text.slice(0, at))
    if (random() < 0.1) log.reopen()
    writeAll(log, text.slice(at))
    nowAt += Math.floor(random() * 2)
  }
  log.close()
  assert.deepEqual(linesIn(folder), expected)
  const files = readdirSync(folder)
  assert.ok(files.length > 50)
  for (const name of files) {
    assert.ok(statSync(join(folder, name)).size <= 10_000 + 8 * 1_000)
    assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600)
  }
})

test('so many files are kept, and none that is not ours is touched', (t) => {
  const folder = scratch(t)
  const path = join(folder, 'access.log')
  const foreign = ['access.log.1', 'access.log.2.gz', 'other.log.20260131T000000.000Z']
  for (const name of foreign) writeAll(new LogFile(join(folder, name), noRotation, hear), 'x\n')
  let nowAt = Date.UTC(2026, 0, 31)
  const log = new LogFile(path, { maxBytes: 1, maxAgeMs: 0, keep: 2 }, hear, () => nowAt++)
  for (let index = 0; index < 6; index++) writeAll(log, `${index}\n`)
  log.close()
  const ours = readdirSync(folder).filter((name) => !foreign.includes(name))
  assert.equal(ours.length, 3)
  assert.deepEqual(
    ours.sort().map((name) => readFileSync(join(folder, name), 'utf8')),
    ['5\n', '3\n', '4\n'],
  )
  assert.match(ours[1]!, /^access\.log\.20260131T000000\.\d{3}Z$/)
  for (const name of foreign) assert.ok(existsSync(join(folder, name)))
})

test('a file that is old is put aside when the next line comes; an empty one is not', (t) => {
  const folder = scratch(t)
  let nowAt = Date.now()
  const rotation = { maxBytes: 0, maxAgeMs: 3_600_000, keep: 5 }
  const log = new LogFile(join(folder, 'access.log'), rotation, hear, () => nowAt)
  nowAt += 3_600_001
  writeAll(log, 'a\n')
  writeAll(log, 'b\n')
  assert.equal(readdirSync(folder).length, 1)
  nowAt += 3_600_001
  writeAll(log, 'c\n')
  log.close()
  assert.equal(readdirSync(folder).length, 2)
  assert.equal(readFileSync(join(folder, 'access.log'), 'utf8'), 'c\n')
  // A service that is restarted does not begin to count again.
  nowAt = Date.now() + 3_600_001
  const again = new LogFile(join(folder, 'access.log'), rotation, hear, () => nowAt)
  writeAll(again, 'd\n')
  again.close()
  assert.equal(readdirSync(folder).length, 3)
})

test('a file that somebody renamed is left for a new one, after the line that was begun', (t) => {
  const folder = scratch(t)
  const path = join(folder, 'access.log')
  const log = new LogFile(path, noRotation, hear)
  writeAll(log, 'one\ntw')
  renameSync(path, `${path}.1`)
  log.reopen()
  assert.ok(!existsSync(path))
  writeAll(log, 'o\n')
  writeAll(log, 'three\n')
  log.close()
  assert.equal(readFileSync(`${path}.1`, 'utf8'), 'one\ntwo\n')
  assert.equal(readFileSync(path, 'utf8'), 'three\n')
})

test('a rotation that fails is heard of and not tried at every line; lines go on', (t) => {
  const folder = scratch(t)
  const heard: unknown[] = []
  let nowAt = 0
  const log = new LogFile(
    join(folder, 'access.log'),
    { maxBytes: 1, maxAgeMs: 0, keep: 1 },
    (error) => heard.push(error),
    () => nowAt,
  )
  writeAll(log, 'a\n')
  // The folder goes while the file is open.
  rmSync(folder, { recursive: true })
  for (let index = 0; index < 100; index++) writeAll(log, 'b\n')
  assert.deepEqual(
    heard.map((error) => (error as NodeJS.ErrnoException).code),
    ['ENOENT'],
  )
  nowAt += 60_000
  writeAll(log, 'c\n')
  assert.equal(heard.length, 2)
  log.close()
})

test('what is no file is neither rotated nor opened again', () => {
  const log = new LogFile('/dev/null', { maxBytes: 1, maxAgeMs: 1, keep: 1 }, hear)
  for (let index = 0; index < 3; index++) writeAll(log, 'x\n')
  log.reopen()
  log.close()
})
