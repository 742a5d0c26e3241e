import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConnectorError, parseAllowRules } from '@sallyport/connector'
import { ControlError } from '@sallyport/control'
import { ConfigurationError } from '@sallyport/domain'
import { CommandError, describeError } from '../src/failure.ts'
import { asOwner } from '../src/folders.ts'
import { toJson, toJsonLine, toPrintable, toTable, toTableLine } from '../src/output.ts'

test('rows stand in columns, in the order asked for, with times a person reads', () => {
  const rows = [
    { id: '1', userName: 'ana', enabled: true, lastSeenAt: 1_795_469_067_449, groups: ['a', 'b'] },
    { id: '2', userName: 'benjamin', enabled: false, lastSeenAt: null, groups: [] },
  ]
  assert.deepEqual(toTable(rows, ['userName', 'enabled', 'lastSeenAt', 'groups']).split('\n'), [
    'USER NAME  ENABLED  LAST SEEN             GROUPS',
    'ana        yes      2026-11-23 21:24:27Z  a, b',
    'benjamin   no       -                     -',
  ])
})

test('no line of a table ends in spaces, and what is not there is a dash', () => {
  const table = toTable([
    { a: 'x', b: undefined },
    { a: '', b: 0 },
    { a: {}, b: { c: 1 } },
  ])
  assert.deepEqual(table.split('\n'), ['A  B', 'x  -', '-  0', '-  {"c":1}'])
})

test('what a stranger wrote cannot move the cursor, colour the terminal or turn the text around', () => {
  const hostile = 'Mozilla\u001b[2J\u009b31m\r\nadmin\u202egnp.exe\u2066\u200b\u0007\u2028\ufeff'
  for (const text of [
    toTable([{ userAgent: hostile, detail: { text: hostile }, list: [hostile] }]),
    toPrintable(hostile),
    toJson([{ userAgent: hostile }]),
    describeError(new CommandError(hostile, hostile)).join(''),
  ]) {
    assert.match(text, /Mozilla/)
    assert.doesNotMatch(text, /(?!\n)[\p{Cc}\p{Cf}\u2028\u2029]/u)
  }
  assert.deepEqual(JSON.parse(toJson({ hostile })), { hostile }, 'JSON still says the same')
})

test('text in any language stays as it is', () => {
  const text = 'Zoë Łukasz 山田 👍 – naïve'
  assert.equal(toPrintable(text), text)
  assert.equal(toJson(text), JSON.stringify(text))
})

test('an error with problems is one line for each of them', () => {
  const problems = [
    { path: 'listen.port', message: 'must be at least 1' },
    { path: 'dataDir', message: 'is required' },
  ]
  const lines = ['listen.port: must be at least 1', 'dataDir: is required']
  assert.deepEqual(describeError(new ConfigurationError(problems)), lines)
  assert.deepEqual(
    describeError(new ControlError('INPUT_INVALID', lines.join('\n'), { problems })),
    lines,
  )
})

test('the problems of an allow-list are said, which have no path', () => {
  let error: unknown
  try {
    parseAllowRules(['10.0.0.0/99', 'bad rule'])
  } catch (thrown) {
    error = thrown
  }
  assert.ok(error instanceof ConnectorError)
  const lines = describeError(error)
  assert.equal(lines.length, 2)
  assert.match(lines[0]!, /^10\.0\.0\.0\/99: \w/)
  assert.match(lines[1]!, /^bad rule: \w/)
})

test('the hint comes last', () => {
  assert.deepEqual(describeError(new CommandError('it is busy', 'wait')), ['it is busy', 'wait'])
})

test('what was foreseen is one line without a stack, a mistake of ours keeps its stack', () => {
  const system = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' })
  assert.deepEqual(describeError(system), ['EACCES: permission denied'])
  const ours = Object.assign(new TypeError('wrong'), { code: 'ERR_INVALID_ARG_TYPE' })
  for (const error of [ours, new RangeError('wrong')])
    assert.match(describeError(error).join('\n'), /wrong\n\s+at /)
  assert.deepEqual(describeError('thrown text'), ['thrown text'])
  assert.deepEqual(describeError(undefined), ['undefined'])
})

test('what a list that goes on shows of a stranger is one line without control characters', () => {
  const row = { at: 0, actor: 'evil\u001b[2J\n\u009b31m\u202e', detail: { reason: 'a\r\nb\u2028' } }
  for (const line of [toTableLine(row, { at: 20, actor: 8, detail: 0 }), toJsonLine(row)])
    assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\u2028]/u)
  assert.deepEqual(JSON.parse(toJsonLine(row)), row)
  assert.match(
    toTableLine({ at: 0, actor: 'ana', detail: {} }, { at: 22, actor: 5, detail: 0 }),
    /^1970-01-01 00:00:00Z {4}ana {4}-$/,
  )
})

test('root is told how to run a command as the user of the service, with its group', () => {
  const passwd = 'root:x:0:0:root:/root:/bin/bash\nsallyport:x:997:996::/:/usr/sbin/nologin\n'
  assert.equal(asOwner({ uid: 997, gid: 996 }, passwd), 'runuser -u sallyport --')
  assert.equal(
    asOwner({ uid: 985, gid: 984 }, passwd),
    'setpriv --reuid 985 --regid 984 --clear-groups',
  )
})
