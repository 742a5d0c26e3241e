import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { AuditNotices, audit } from '@sallyport/store'
import { forBoth } from './support/databases.ts'

const testBoth = forBoth()

const event = (at: number, more: Partial<audit.AuditInput> = {}): audit.AuditInput => ({
  at,
  kind: 'user-updated',
  actor: 'cli:root',
  subject: 'x',
  ...more,
})

testBoth(
  'events of one millisecond stay in the order in which they were recorded',
  async (_, database) => {
    const { db } = await database.open()
    for (let index = 0; index < 200; index++)
      await audit.recordAudit(db, event(1_795_000_000_000, { detail: { index } }))
    const listed = await audit.listAudit(db, { limit: 1_000 })
    assert.deepEqual(
      listed.map(({ detail }) => detail.index),
      [...Array(200).keys()].reverse(),
    )
    for (const { id } of listed)
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  },
)

testBoth(
  'events are found by time, and by the person who did them or to whom they were done',
  async (_, database) => {
    const { db } = await database.open()
    const id = 'f0000000-0000-4000-8000-00000000000a'
    const kinds: [string, Partial<audit.AuditInput>][] = [
      ['by-sign-in', { actor: 'a_a' }],
      ['by-command', { actor: 'cli:a_a' }],
      ['to-user', { subject: id }],
      ['to-group', { detail: { member: id } }],
      ['of-name', { detail: { userName: 'a_a' } }],
      ['other-name', { actor: 'aba', detail: { userName: 'aba' } }],
      ['longer-name', { detail: { userName: 'a_a2', name: '"userName":"a_a"' } }],
    ]
    for (const [index, [kind, more]] of kinds.entries())
      await audit.recordAudit(db, event(index, { kind, ...more }))
    const found = async (filter: audit.AuditFilter) =>
      (await audit.listAudit(db, filter)).map(({ kind }) => kind).reverse()
    const all = kinds.map(([kind]) => kind)
    assert.deepEqual(await found({ person: { userName: 'a_a', id } }), all.slice(0, 5))
    assert.deepEqual(await found({ person: { userName: 'a_a', id: undefined } }), [
      'by-sign-in',
      'by-command',
      'of-name',
    ])
    assert.deepEqual(await found({ sinceAt: 2, untilAt: 4 }), ['to-user', 'to-group'])
    assert.deepEqual(await found({ person: { userName: '%', id: undefined } }), [])
  },
)

testBoth(
  'what is older than the retention goes, and its going is an event',
  async (_, database) => {
    const { db } = await database.open()
    for (const at of [1, 2, 3, 100]) await audit.recordAudit(db, event(at))
    assert.equal(await audit.findOldestAuditAt(db), 1)
    assert.equal(await audit.trimAudit(db, { beforeAt: 3, nowAt: 200 }), 2)
    assert.equal(await audit.trimAudit(db, { beforeAt: 3, nowAt: 201 }), 0)
    assert.deepEqual(
      (await audit.listAudit(db)).map(({ at, kind, detail }) => [at, kind, detail]),
      [
        [200, 'audit-trimmed', { events: 2, beforeAt: 3 }],
        [100, 'user-updated', {}],
        [3, 'user-updated', {}],
      ],
    )
  },
)

testBoth(
  'what repeats is recorded once in an interval, with the number in between',
  async (_, database) => {
    const { db } = await database.open()
    let nowAt = 0
    const notices = new AuditNotices({ db, clock: () => nowAt, intervalMs: 10, limitKeys: 2 })
    const notice = (key: string) =>
      notices.record(key, { kind: key, actor: 'address:192.0.2.1', subject: 's' })
    assert.deepEqual(
      [await notice('a'), await notice('a'), await notice('a')],
      [true, false, false],
    )
    nowAt = 10
    assert.equal(await notice('a'), true)
    // Whoever comes under ever new names pushes out the oldest, and the memory stays as it is.
    await notice('b')
    await notice('c')
    assert.equal(await notice('a'), true)
    assert.deepEqual(
      (await audit.listAudit(db, { kind: 'a' })).map(({ detail }) => detail.repeated).reverse(),
      [undefined, 2, undefined],
    )
  },
)

test('attack 70: nothing changes an audit event, and only the retention removes one', () => {
  const packages = join(import.meta.dirname, '../..')
  const touching = readdirSync(packages, { recursive: true, encoding: 'utf8' })
    .filter((file) => /^[a-z0-9]+\/src\/.*\.ts$/.test(file))
    .flatMap((file) =>
      [
        ...readFileSync(join(packages, file), 'utf8').matchAll(
          /\b(insertInto|updateTable|deleteFrom|replaceInto|mergeInto)\(\s*'auditEvent'/g,
        ),
      ].map(([, verb]) => `${file} ${verb}`),
    )
  assert.deepEqual(touching.sort(), [
    'store/src/audit.ts deleteFrom',
    'store/src/audit.ts insertInto',
  ])
})
