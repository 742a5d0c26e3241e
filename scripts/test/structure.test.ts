// Holds the tree to the house rules that no compiler and no linter checks.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join, relative, resolve } from 'node:path'
import { test } from 'node:test'

const ROOT = resolve(import.meta.dirname, '../..')

// What the source of a package may import of our own. `types` marks a type-only arrow; an entry with
// a slash is one subpath.
const ARROWS: Record<string, string[]> = {
  http1: [],
  protocol: [],
  kerberos: [],
  domain: [],
  sso: ['domain'],
  store: ['domain'],
  identity: ['domain', 'store', 'sso/saml', 'sso/oidc'],
  control: ['domain', 'store', 'sso/password'],
  gateway: ['domain', 'http1', 'protocol', 'sso'],
  connector: ['http1', 'protocol', 'kerberos', 'sso/password'],
  web: ['domain types'],
  cli: [
    'http1',
    'protocol',
    'kerberos',
    'domain',
    'sso',
    'store',
    'identity',
    'control',
    'gateway',
  ].concat('connector', 'web', 'example-intranet', 'example-node-red'),
}

// Every byte passes them, or they stand inside: nothing of other people's by accident.
const WITHOUT_DEPENDENCIES = ['http1', 'protocol', 'kerberos']

interface Import {
  from: string
  typeOnly: boolean
  file: string
}

interface Manifest {
  name: string
  dependencies?: Record<string, string>
  /** Done without, when they are not there. */
  optionalDependencies?: Record<string, string>
  devDependencies?: Record<string, string>
}

const files = trackedFiles()
const packages = readdirSync(join(ROOT, 'packages')).filter((name) =>
  existsSync(join(ROOT, 'packages', name, 'package.json')),
)

for (const name of packages) {
  test(`${name} imports only what its arrows allow`, () => {
    const allowed = ARROWS[name]
    assert.ok(allowed, `${name} has no line in the table of arrows`)
    for (const { from, typeOnly, file } of importsOf(`packages/${name}/src/`)) {
      if (!from.startsWith('@sallyport/')) continue
      const path = from.slice('@sallyport/'.length)
      const fits = allowed.some((arrow) => {
        const [target, types] = arrow.split(' ') as [string, string?]
        return (path === target || path.startsWith(`${target}/`)) && (!types || typeOnly)
      })
      assert.ok(fits, `${file} imports ${from}`)
    }
  })
}

for (const folder of ['packages', '', 'examples'].flatMap(workspacesIn)) {
  test(`${folder}/package.json names exactly what its source imports`, () => {
    const manifest = readManifest(folder)
    const { dependencies: needed = {}, optionalDependencies: wished = {} } = manifest
    const dependencies = Object.keys({ ...needed, ...wished })
    const inSource = packageNames(importsOf(`${folder}/`).filter(({ file }) => !isTest(file)))
    inSource.delete(manifest.name)
    for (const [name, file] of inSource) {
      assert.ok(dependencies.includes(name), `${file} imports ${name}, which is not declared`)
    }
    const isProgram = folder === 'e2e'
    const used = isProgram ? packageNames(importsOf(`${folder}/`)) : inSource
    for (const name of dependencies.filter((name) => name.startsWith('@sallyport/'))) {
      assert.ok(used.has(name), `${folder}/package.json declares ${name}, which nothing imports`)
    }
  })
}

for (const name of WITHOUT_DEPENDENCIES.filter((name) => packages.includes(name))) {
  test(`${name} has no dependencies`, () => {
    assert.deepEqual(Object.keys(readManifest(`packages/${name}`).dependencies ?? {}), [])
  })
}

test('nothing native is loaded but in the process of the gssapi engine', () => {
  const folder = 'packages/connector/src/sign-on/gssapi'
  const loading = importsOf('packages/').filter(({ from }) => from === 'koffi')
  assert.deepEqual([...new Set(loading.map(({ file }) => file))], [`${folder}/library.ts`])
  const importing = importsOf('packages/connector/src/')
    .filter(({ from, typeOnly }) => from.endsWith('/library.ts') && !typeOnly)
    .map(({ file }) => file)
  assert.deepEqual([...new Set(importing)], [`${folder}/child.ts`])
  const starting = importsOf('packages/').filter(({ from }) => from.endsWith('gssapi/child.ts'))
  assert.deepEqual(starting, [])
})

test('only tests, e2e and bench import the testkit', () => {
  const guilty = importsOf('')
    .filter(({ from }) => from === '@sallyport/testkit' || from.startsWith('@sallyport/testkit/'))
    .map(({ file }) => file)
    .filter((file) => !/^(e2e|bench|testkit)\//.test(file) && !isTest(file))
  assert.deepEqual(guilty, [])
})

test('no test is skipped, left to do, or the only one', () => {
  const call = /\b(?:test|it|describe|suite|t)\s*\.\s*(?:only|skip|todo)\s*\(/
  const option = /\btest\([^)]*,\s*\{[^}]*\b(?:only|skip|todo)\s*:/
  assertNowhere(files.filter(isTest), [call, option])
})

test('no file names a place that exists on one machine only', () => {
  const homes = ['work', 'home', 'root', 'Users'].join('|')
  assertNowhere(files, [new RegExp(`(?<![\\w.*@}-])/(?:${homes})/[\\w.]`), /\bC:\\\\?Users/i])
})

test('no file refers to what lies beside the repository', () => {
  assertNowhere(files, [new RegExp(['\\.\\./', 'shared/'].join(''))])
})

test('source is erasable TypeScript: no enum, no namespace', () => {
  const source = files.filter((file) => /\.[cm]?tsx?$/.test(file))
  assertNowhere(source, [
    /^\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?enum\s+\w+\s*\{/m,
    /^\s*(?:export\s+)?(?:declare\s+)?(?:namespace|module)\s+[\w.]+\s*\{/m,
  ])
})

test('what these checks look for, they find', () => {
  const list = ['import {\n  a,\n} from ', "'@sallyport/x'", '\nimport type B from ', "'b'"].join(
    '',
  )
  const found = parseImports(
    `${list}\nexport * from './c.ts'\nimport 'd'\nawait import('e')\n`,
    'f',
  )
  assert.deepEqual(
    found.map(({ from, typeOnly }) => [from, typeOnly]),
    [
      ['@sallyport/x', false],
      ['b', true],
      ['./c.ts', false],
      ['d', false],
      ['e', false],
    ],
  )
  assert.ok(files.includes('scripts/test/structure.test.ts'))
  assert.ok(importsOf('packages/domain/src/').length > 0)
})

/** Files under version control or about to be, as paths from the root. */
function trackedFiles(): string[] {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 })
    .split('\0')
    .filter((file) => file !== '' && existsSync(join(ROOT, file)))
}

function importsOf(folder: string): Import[] {
  return files
    .filter((file) => file.startsWith(folder) && /\.[cm]?[jt]sx?$/.test(file))
    .flatMap((file) => parseImports(readFileSync(join(ROOT, file), 'utf8'), file))
}

function parseImports(source: string, file: string): Import[] {
  const statement = /^\s*(?:import|export)\s+(type\s)?(?:[\w*{}\s,$]+?\sfrom\s+)?'([^'\n]+)'/gm
  const call = /\b(?:import|require)\(\s*'([^'\n]+)'\s*\)/g
  return [
    ...[...source.matchAll(statement)].map((match) => ({
      from: match[2]!,
      typeOnly: match[1] !== undefined,
      file,
    })),
    ...[...source.matchAll(call)].map((match) => ({ from: match[1]!, typeOnly: false, file })),
  ]
}

/** The packages among the imports, each with a file that imports it. */
function packageNames(imports: Import[]): Map<string, string> {
  return new Map(
    imports
      .filter(({ from }) => !/^(?:\.|\/|node:|#)/.test(from) && !builtinModules.includes(from))
      .map(({ from, file }) => {
        const parts = from.split('/')
        return [parts.slice(0, from.startsWith('@') ? 2 : 1).join('/'), file]
      }),
  )
}

function isTest(file: string): boolean {
  return /(?:^|\/)test\/|\.(?:test|long)\.ts$/.test(file)
}

function workspacesIn(parent: string): string[] {
  const names = parent === '' ? ['testkit', 'e2e', 'bench'] : readdirSync(join(ROOT, parent))
  return names
    .map((name) => join(parent, name))
    .filter((folder) => existsSync(join(ROOT, folder, 'package.json')))
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'))
}

function assertNowhere(among: string[], patterns: RegExp[]): void {
  const self = relative(ROOT, import.meta.filename)
  const found = among
    .filter((file) => file !== self && !/\.(?:png|jpg|ico|woff2|bin)$/.test(file))
    .filter((file) => file !== 'package-lock.json')
    .flatMap((file) => {
      const text = readFileSync(join(ROOT, file), 'utf8')
      const match = patterns.map((pattern) => pattern.exec(text)).find((found) => found)
      return match ? [`${file}:${text.slice(0, match.index).split('\n').length} ${match[0]}`] : []
    })
  assert.deepEqual(found, [])
}

test('the lock holds every optional package of every platform, without which npm ci refuses it', () => {
  interface Locked {
    optionalDependencies?: Record<string, string>
  }
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>
  }
  const present = new Set(Object.keys(packages).map((path) => path.split('node_modules/').at(-1)))
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages))
    for (const name of Object.keys(optionalDependencies))
      assert.ok(present.has(name), `${path} may want ${name}, which the lock does not hold`)
})
