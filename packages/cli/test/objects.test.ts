import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { checkObjects } from '@sallyport/control/objects'
import { readObjectFiles } from '../src/objects/read.ts'
import { toYaml, writeObjects } from '../src/objects/write.ts'
import { readYaml } from '../src/yaml.ts'
import { domain, install, type Outcome, scratch } from './support/programs.ts'
import { seeded } from './support/random.ts'

function write(folder: string, files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
}

const app = (port: number, more = '') =>
  `kind: application\nname: hr\nexternalUrl: https://hr.${domain}:${port}/\ninternalUrl: http://hr.internal/\n${more}`

const people = `# yaml-language-server: $schema=x
kind: user
userName: ana
displayName: Ana
---
kind: group
name: staff
members: { users: [ana] }
`

async function place(t: TestContext) {
  const installed = await install(t)
  const conf = join(installed.dir, 'conf')
  write(conf, {
    'apps/hr.yaml': app(installed.port, 'assignments: { groups: [staff] }\n'),
    'people.yml': people,
    '.hidden/x.yaml': 'not: [read',
    'notes.txt': 'not: [read',
  })
  return { ...installed, conf }
}

function expect(outcome: Outcome, status: number, stdout: RegExp | string): void {
  assert.equal(outcome.status, status, outcome.stderr)
  if (typeof stdout === 'string') assert.equal(outcome.stdout, stdout)
  else assert.match(outcome.stdout, stdout)
}

const nothing = 'No changes: the service is as the files say.\n'

test('files are planned, applied, found equal, and drift is shown: with and without the service', async (t) => {
  const { sallyport, conf, serve } = await place(t)
  const plan = () => sallyport(['apply', '-f', conf, '--plan'])
  const first = await plan()
  expect(first, 2, /^\+ user ana\n {4}displayName: Ana\n/)
  assert.match(first.stdout, /\n {4}assignments\.groups: \+ staff\n/)
  assert.match(first.stdout, /\nPlan [0-9a-f]{16}: 3 to create, none to change, none to delete\n$/)
  expect(await sallyport(['app', 'list', '--json']), 0, '[]\n')

  const service = await serve()
  expect(await plan(), 2, first.stdout)
  expect(
    await sallyport(['apply', '-f', conf]),
    0,
    /\nApplied: 3 created, none changed, none deleted\n$/,
  )
  expect(await plan(), 0, nothing)
  expect(await sallyport(['apply', '-f', conf]), 0, nothing)
  await sallyport(['app', 'update', 'hr', 'backendTimeoutMs=20000'])
  await sallyport(['app', 'unassign', 'hr', '--group', 'staff'])
  await sallyport(['group', 'create', 'other'])
  expect(
    await plan(),
    2,
    /^~ application hr\n {4}applicationServerTimeout: 20s -> default\n {4}assignments\.groups: \+ staff\nPlan [0-9a-f]+: none to create, 1 to change, none to delete\n$/,
  )
  const pruning = await sallyport(['apply', '-f', conf, '--prune', '--plan'])
  expect(
    pruning,
    2,
    /\n- group other\nNot pruned, because the files have none: connectorGroup, linkedApplication\nPlan/,
  )
  const { stdout } = await sallyport(['apply', '-f', conf, '--plan', '--json'])
  const { id, changes } = JSON.parse(stdout) as { id: string; changes: { name: string }[] }
  assert.deepEqual(
    changes.map(({ name }) => name),
    ['hr'],
  )
  const stale = await sallyport(['apply', '-f', conf, '--expect', '0123456789abcdef'])
  assert.equal(stale.status, 1)
  assert.match(
    stale.stderr,
    /^sallyport: expect: something has changed since the plan 0123456789abcdef/,
  )
  await service.stop()
  expect(await sallyport(['apply', '-f', conf, '--expect', id, '--prune', 'group']), 1, '')
  expect(
    await sallyport(['apply', '-f', conf, '--expect', id]),
    0,
    /\nApplied: none created, 1 changed/,
  )
})

test('an export is applied without a change, here and by standard input elsewhere', async (t) => {
  const { sallyport, conf, dir } = await place(t)
  await sallyport(['apply', '-f', conf])
  const link = ['app', 'create', 'payroll', '--linked', 'https://payroll.example/']
  expect(await sallyport([...link, '--display-name', 'Payroll']), 0, /^application payroll created/)
  assert.equal((await sallyport([...link, '--internal-url', 'http://x/'])).status, 64)
  const bad = await sallyport(['app', 'create', 'bad', '--linked', 'javascript:alert(1)'])
  assert.match(bad.stderr, /linkedUrl: must be an absolute URL/)
  const neither = await sallyport(['app', 'create', 'bad'])
  assert.equal(neither.status, 64)
  expect(await sallyport(['app', 'list']), 0, /payroll .*https:\/\/payroll\.example\//)
  const out = join(dir, 'out')
  expect(await sallyport(['export', '-o', out]), 0, /^5 objects written to .*\n$/)
  assert.deepEqual(readdirSync(out, { recursive: true }).sort(), [
    'applications',
    'applications/hr.yaml',
    'connector-groups.yaml',
    'groups.yaml',
    'linked-applications.yaml',
    'sallyport.schema.json',
    'users.yaml',
  ])
  const text = readFileSync(join(out, 'applications/hr.yaml'), 'utf8')
  assert.match(text, /^# yaml-language-server: \$schema=\.\.\/sallyport\.schema\.json\n/)
  expect(await sallyport(['apply', '-f', out, '--prune', '--plan']), 0, nothing)
  const { stdout } = await sallyport(['export'])
  expect(await sallyport(['apply', '-f', '-', '--prune', '--plan'], stdout), 0, nothing)

  // Written again: the same, then with a file too many, then with one that a person made.
  expect(await sallyport(['export', '-o', out]), 0, /written/)
  await sallyport(['app', 'delete', 'hr'])
  const refused = await sallyport(['export', '-o', out])
  assert.equal(refused.status, 1)
  assert.match(refused.stderr, /holds applications\/hr\.yaml, which would be lost/)
  write(out, { 'applications/own.yaml': app(1) })
  expect(await sallyport(['export', '-o', out, '--replace']), 0, /written/)
  assert.ok(!existsSync(join(out, 'applications/hr.yaml')))
  assert.ok(existsSync(join(out, 'applications/own.yaml')), 'it was not exported')
})

test('every problem of every file stands with file, line and path, and nothing is changed', async (t) => {
  const { sallyport, conf, port, serve } = await place(t)
  await serve()
  write(conf, {
    'apps/wiki.yaml': `kind: application
name: wiki
externalUrl: http://wiki.${domain}/
internalUrl: http://wiki/
colour: red
assignments:
  users:
    - ana
    - nobody
---
kind: application
name: copy
externalUrl: https://hr.${domain}:${port}/
internalUrl: http://copy/
singleSignOnSettings:
  singleSignOnMode: headerBased
  headers:
    - { name: X-User, claim: everything }
`,
    'bad/anchor.yaml': 'kind: &kind user\nuserName: a\n',
    'bad/list.yaml': '- kind: user\n',
    'bad/tab.yaml': 'kind: user\nuserName:\n\t- x\n',
    'bad/twice.yaml': 'kind: user\nuserName: ana\nuserName: ben\n',
  })
  writeFileSync(
    join(conf, 'bad/latin1.yaml'),
    Buffer.from('kind: user\nuserName: \xe9\n', 'latin1'),
  )
  const linesOf = async () => {
    const { status, stdout, stderr } = await sallyport(['apply', '-f', conf])
    assert.deepEqual([status, stdout], [1, ''])
    assert.match(stderr, /\nsallyport: nothing was changed\n$/)
    return stderr
      .split('\n')
      .filter((line) => line.includes('.yaml:'))
      .map((line) =>
        line.slice(`sallyport: ${conf}/`.length).replace(/: (?:must|is|there|sets) .*/, ''),
      )
  }
  const ofFields = [
    'apps/wiki.yaml:3: externalUrl',
    'apps/wiki.yaml:5: colour',
    'apps/wiki.yaml:18: singleSignOnSettings.headers.0.claim',
  ]
  const ofYaml = ['anchor.yaml:1', 'latin1.yaml:1', 'list.yaml:1', 'tab.yaml:3', 'twice.yaml:3']
  assert.deepEqual(await linesOf(), [...ofFields, ...ofYaml.map((line) => `bad/${line}`)])
  rmSync(join(conf, 'bad'), { recursive: true })
  assert.deepEqual(await linesOf(), [
    ofFields[0],
    ofFields[1],
    'apps/wiki.yaml:9: assignments.users.1',
    ofFields[2],
  ])
  const fixed = readFileSync(join(conf, 'apps/wiki.yaml'), 'utf8')
    .replace(`http://wiki.${domain}/`, `https://wiki.${domain}:${port}/`)
    .replace('colour: red\n', '')
    .replace('    - nobody\n', '')
    .replace('everything', 'userName')
  write(conf, { 'apps/wiki.yaml': fixed })
  assert.deepEqual(await linesOf(), ['apps/wiki.yaml:11: externalUrl'])
  expect(await sallyport(['user', 'list', '--json']), 0, '[]\n')
})

test('where nothing is there to apply, nothing is deleted: it is an error', async (t) => {
  const { sallyport, dir } = await place(t)
  mkdirSync(join(dir, 'empty'))
  writeFileSync(join(dir, 'comments.yaml'), '# nothing\n---\n')
  for (const [path, said] of [
    [join(dir, 'empty'), /: no object is there\n/],
    [join(dir, 'comments.yaml'), /: no object is there\n/],
    [join(dir, 'missing'), /: does not exist\n/],
  ] as const) {
    const { status, stderr } = await sallyport(['apply', '-f', path, '--prune'])
    assert.equal(status, 1)
    assert.match(stderr, said)
  }
  const wrong = await sallyport(['apply', '-f', dir, '--prune', 'user,role'])
  assert.equal(wrong.status, 64)
  assert.match(wrong.stderr, /must be some of: connectorGroup,user,group,application/)
})

test('folders that lead in a circle are read once', (t) => {
  const dir = scratch(t)
  write(dir, { 'a/x.yaml': 'kind: group\nname: x\n' })
  // As a volume of Kubernetes has it: a link to a folder, and a file that is a link.
  symlinkSync('..', join(dir, 'a/back'))
  symlinkSync('a/x.yaml', join(dir, 'link.yaml'))
  const { values } = readObjectFiles([dir])
  assert.deepEqual(values, [
    { kind: 'group', name: 'x' },
    { kind: 'group', name: 'x' },
  ])
})

test('what is written as YAML is read back as it was, whatever it looks like', () => {
  const hostile = [
    'no',
    'on',
    '~',
    'null',
    '1e3',
    '0x1f',
    '1:30',
    '2001-01-01',
    '---',
    '...',
    '# x',
  ]
  const more = [
    'a: b',
    '- x',
    '&a',
    '*a',
    '!!str',
    '"',
    "'",
    '',
    ' x ',
    '\u2028',
    '\u0000',
    '{',
    '%',
    '@',
    '`',
    '|',
    '>',
    '?',
    ': ',
    '=',
    '<<',
    'a\nb',
    'a\tb',
    '\u{1f600}',
  ]
  const objects = [...hostile, ...more].map((name) => ({ kind: 'group', name }))
  const { documents, problems } = readYaml(toYaml(objects, 'x'))
  assert.deepEqual(problems, [])
  assert.deepEqual(
    documents.map(({ value }) => value),
    objects,
  )
})

test('fuzz: files whose bytes were changed at random are read or refused with their lines', async () => {
  const seed = Number(process.env.FUZZ_SEED ?? 20_261_125)
  const random = seeded(seed)
  const one = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)]!
  const bits = ['[', '{', '&a ', '*a ', '\t', '\n', '- ', '!!x ', '"', "'", '|', '%', '\0', '---\n']
  const more = [
    ': ',
    '#',
    '? ',
    '<<: ',
    '__proto__: ',
    '...\n',
    '\u2028',
    '\ufeff',
    '%YAML 1.1\n---\n',
  ]
  for (let round = 0; round < 1_000; round += 1) {
    let text = one([people, app(443), `${people}---\n${app(443)}`])
    for (let count = 1 + Math.floor(random() * 4); count > 0; count -= 1) {
      const at = Math.floor(random() * text.length)
      text = text.slice(0, at) + one([...bits, ...more]) + text.slice(at + Math.floor(random() * 3))
    }
    try {
      const { documents, problems } = readYaml(text)
      const lineCount = text.split('\n').length
      for (const { line } of problems)
        assert.ok(line === undefined || (line >= 1 && line <= lineCount))
      // Over the socket they go as JSON.
      const values = JSON.parse(JSON.stringify(documents.map(({ value }) => value))) as unknown[]
      for (const { path } of (await checkObjects(values)).problems) {
        const [, index, field = ''] = /^objects\.(\d+)(?:\.(.*))?$/s.exec(path) ?? []
        const line = documents[Number(index)]!.lineOf(field)
        assert.ok(line >= 1 && line <= lineCount, `${path} in line ${line}`)
      }
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}: ${JSON.stringify(text)}`, { cause: error })
    }
  }
})

test('a file that is nested without end is refused, and the service lives', async (t) => {
  const { sallyport, dir, serve } = await place(t)
  await serve()
  for (const depth of [50, 500, 5_000, 50_000]) {
    const file = join(dir, 'deep.yaml')
    writeFileSync(file, `kind: group\nname: x\nmembers: ${'['.repeat(depth)}${']'.repeat(depth)}\n`)
    const { status, stderr } = await sallyport(['apply', '-f', file])
    assert.equal(status, 1, stderr)
    assert.match(stderr, /deep\.yaml:\d+: .*(?:must be an object|is nested too deeply)/)
    assert.doesNotMatch(stderr, /\n\s+at /)
  }
  expect(await sallyport(['status']), 0, /^Service +running/)
})

test('an export follows no link that somebody has put into the folder', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-export-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const precious = join(dir, 'precious')
  writeFileSync(precious, 'mine')
  const folder = join(dir, 'out')
  mkdirSync(folder)
  symlinkSync(precious, join(folder, 'users.yaml.part'))
  symlinkSync(precious, join(folder, 'users.yaml'))
  writeObjects([{ kind: 'user', userName: 'ana' }], {}, folder, true)
  assert.equal(readFileSync(precious, 'utf8'), 'mine')
  assert.match(readFileSync(join(folder, 'users.yaml'), 'utf8'), /userName: ana/)
})
