import assert from 'node:assert/strict'
import test from 'node:test'
import {
  type ApplicationInput,
  applicationSchema,
  ConfigurationError,
  compileSnapshot,
  findApplicationAt,
  kerberosSignOnSchema,
  type Snapshot,
  toKerberosLogin,
  toProblems,
} from '../src/index.ts'

let next = 0
const input = (name: string, more: object): Record<string, unknown> => {
  next += 1
  return {
    id: `00000000-0000-4000-8000-${String(next).padStart(12, '0')}`,
    name,
    displayName: name,
    externalUrl: 'https://www.example.test/',
    internalUrl: `http://${name}.internal/`,
    ...more,
  }
}

const header = (more: object) => ({ name: 'X-User', claim: 'userName', ...more })
const headers = (...list: object[]) => ({ signOn: { method: 'headers', headers: list } })

/** Paths of what is wrong with an application. */
function wrong(more: object): string[] {
  const result = applicationSchema.safeParse(input('hr', more))
  return result.success ? [] : toProblems(result.error, applicationSchema).map(({ path }) => path)
}

function snapshotOf(...applications: Record<string, unknown>[]): Snapshot {
  return compileSnapshot({
    applications: applications.map((application) => ({
      application: applicationSchema.parse(application as ApplicationInput),
      principalIds: [],
    })),
    baseDomain: 'example.test',
    port: 443,
    version: 1,
  })
}

const withPaths = (...paths: string[]) => ({
  signOn: {
    method: 'headers',
    headers: [header({})],
    paths: paths.map((path, index) => ({ path, headers: [header({ name: `X-${index}` })] })),
  },
})

const namesAt = (snapshot: Snapshot, target: string) =>
  findApplicationAt(snapshot, 'www.example.test', target)?.compiled.headers.map(({ name }) => name)

function problemsOf(make: () => unknown): string[] {
  try {
    make()
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems.map(({ path }) => path)
    throw error
  }
  return []
}

test('a transform that cannot be used is refused under its own field', () => {
  const at = (transform: object) =>
    wrong(headers(header({ transforms: [{ transform: 'toLowercase' }, transform] })))
  const path = 'signOn.headers.0.transforms.1'
  assert.deepEqual(at({ transform: 'toUppercase' }), [])
  assert.deepEqual(at({ transform: 'shout' }), [`${path}.transform`])
  assert.deepEqual(at({ transform: 'toUppercase', text: 'x' }), [`${path}.text`])
  assert.deepEqual(at({ transform: 'contains' }), [`${path}.text`])
  assert.deepEqual(at({ transform: 'extractAfter', text: '' }), [`${path}.text`])
  assert.deepEqual(at({ transform: 'extractAfter', text: 'a\nb' }), [`${path}.text`])
  assert.deepEqual(at({ transform: 'join' }), [path])
  assert.deepEqual(at({ transform: 'ifEmpty', output: { claim: 'groups' } }), [
    `${path}.output.claim`,
  ])
  assert.deepEqual(at({ transform: 'substring', start: -1 }), [`${path}.start`])
  const pattern = { transform: 'regexReplace', pattern: '(a)', replacement: '$1' }
  assert.deepEqual(at(pattern), [])
  assert.deepEqual(at({ ...pattern, pattern: '(a)\\1' }), [`${path}.pattern`])
  assert.deepEqual(at({ ...pattern, replacement: '$2' }), [`${path}.replacement`])
})

test('attack 62: an expression makes no name of letters that only look like it in another case', () => {
  const login = (operation: string, onPremisesSamAccountName: string) => {
    const settings = {
      kerberosServicePrincipalName: 'HTTP/hr.corp.example',
      kerberosSignOnMappingAttributeType: 'expression',
      kerberosSignOnExpression: `{onPremisesSamAccountName|${operation}}`,
    }
    const signOn = kerberosSignOnSchema.parse({ method: 'kerberos', ...settings })
    return toKerberosLogin(signOn, { userName: 'somebody', onPremisesSamAccountName })
  }
  const named = (name: string) => ({ type: 'principal', name })
  assert.deepEqual(login('lowercase', 'Kay'), named('kay'))
  assert.deepEqual(login('uppercase', 'Zoë'), named('ZOË'))
  // The connector refuses these two, which no case may make another name of first.
  assert.deepEqual(login('lowercase', '\u212Aay'), named('\u212Aay'))
  assert.deepEqual(login('uppercase', 'be\u017Fs'), named('BE\u017FS'))
  assert.deepEqual(login('uppercase', 'adm\u0131n'), named('ADM\u0131N'))
})

test('a separator is punctuation that cannot be taken for a part of a name', () => {
  const at = (separator: string) => wrong(headers(header({ claim: 'groups', separator })))
  for (const good of [';', ',', ', ', '|', ' ', '::']) assert.deepEqual(at(good), [], good)
  for (const bad of ['', '%', 'a', 'and', '1', '\n', '  ', 'ä', ';'.repeat(9)])
    assert.deepEqual(at(bad), ['signOn.headers.0.separator'], JSON.stringify(bad))
})

test('no header of sign-on, and none to strip, has a name of ours or of HTTP', () => {
  for (const name of ['Host', 'cookie', 'Sallyport-Jwt-Assertion', 'sallyport-x', 'X_User', ''])
    for (const [more, path] of [
      [headers(header({ name })), 'signOn.headers.0.name'],
      [{ stripHeaders: [name] }, 'stripHeaders.0'],
    ] as const)
      assert.deepEqual(wrong(more), [path], name)
  assert.deepEqual(wrong({ stripHeaders: ['X-A', 'x-a'] }), ['stripHeaders'])
  assert.deepEqual(wrong({ stripHeaders: ['Remote-User', 'Authorization'] }), [])
})

test('a path of headers lies below the external URL, is plain, and belongs to nobody else', () => {
  const path = 'signOn.paths.0.path'
  for (const bad of ['reports/', '/reports', '/a//b/', '/a;b/', '/%61/', '/a/../b/', '/./', ''])
    assert.deepEqual(wrong(withPaths(bad)), [path], bad)
  assert.deepEqual(wrong(withPaths('/a/', '/A/')), ['signOn.paths'])
  const hr = { externalUrl: 'https://www.example.test/hr/' }
  for (const outside of ['/', '/hr/', '/other/', '/hrx/'])
    assert.deepEqual(
      problemsOf(() => snapshotOf(input('hr', { ...hr, ...withPaths(outside) }))),
      [`applications.hr.${path}`],
      outside,
    )
  assert.deepEqual(
    problemsOf(() =>
      snapshotOf(
        input('root', withPaths('/wiki/')),
        input('wiki', { externalUrl: 'https://www.example.test/wiki/' }),
      ),
    ),
    [`applications.root.${path}`],
  )
})

test('applications with paths are found, and signed in to, as one', () => {
  const snapshot = snapshotOf(
    input('root', withPaths('/reports/', '/reports/all/')),
    input('deep', { externalUrl: 'https://www.example.test/reports/deep/' }),
  )
  assert.deepEqual(namesAt(snapshot, '/'), ['X-User'])
  assert.deepEqual(namesAt(snapshot, '/reports'), ['X-0'])
  assert.deepEqual(namesAt(snapshot, '/reports/x'), ['X-0'])
  assert.deepEqual(namesAt(snapshot, '/reports/all?x'), ['X-1'])
  assert.deepEqual(namesAt(snapshot, '/reports/deep/'), [])
  assert.deepEqual(namesAt(snapshot, '/reportsx'), ['X-User'])
  for (const target of ['/reports/../', '/x/%2e%2e/reports/', '/Reports/', '//reports/'])
    assert.throws(() => namesAt(snapshot, target), { code: 'TARGET_AMBIGUOUS' }, target)
  assert.deepEqual(
    snapshot.findApplications('www.example.test').map(({ application: { name } }) => name),
    ['root', 'deep'],
  )
  const { application } = snapshot.findApplications('www.example.test')[0]!
  const callback = 'https://www.example.test/.sallyport/callback'
  assert.ok(snapshot.redirectUriAllowed(application.id, callback))
  // Whatever a client sends under any of these names is removed everywhere.
  assert.deepEqual([...snapshot.identityHeaders].toSorted(), ['x-0', 'x-1', 'x-user'])
})
