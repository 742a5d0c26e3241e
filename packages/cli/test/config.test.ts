import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ConfigurationError } from '@sallyport/domain'
import { parse, stringify } from 'yaml'
import { parseServiceConfig, readServiceConfig, serviceFiles } from '../src/config.ts'
import { scratch } from './support/programs.ts'
import { seeded } from './support/random.ts'

const minimal = 'baseDomain: access.example.com\ndataDir: data\n'

/** The paths of what is wrong with it. */
function problemsOf(read: () => unknown): { path: string; message: string }[] {
  try {
    read()
  } catch (error) {
    assert.ok(error instanceof ConfigurationError, String(error))
    assert.ok(error.problems.length > 0)
    for (const { path, message } of error.problems) {
      assert.notEqual(path, '')
      assert.notEqual(message, '')
      assert.doesNotMatch(`${path}: ${message}`, /\n/, 'one line each')
    }
    return [...error.problems]
  }
  return []
}

const pathsOf = (text: string) => problemsOf(() => parseServiceConfig(text)).map(({ path }) => path)

test('what is left out has its default', () => {
  assert.deepEqual(parseServiceConfig(minimal), {
    baseDomain: 'access.example.com',
    dataDir: 'data',
    listen: { address: '::', port: 443 },
    trustedProxies: [],
    logoutAllow: [],
    certificates: [],
    accessLogRotation: { maxSizeMiB: 100, maxAgeHours: 0, keep: 10 },
    auditRetentionDays: 365,
    feedSilenceLimitMs: 60_000,
    database: { kind: 'sqlite' },
    logLevel: 'info',
  })
})

test('the base domain is compared without case', () => {
  assert.equal(
    parseServiceConfig('baseDomain: Access.EXAMPLE.com\ndataDir: data').baseDomain,
    'access.example.com',
  )
})

test('every problem is named at once', () => {
  assert.deepEqual(
    pathsOf(
      `baseDomain: 12
listen: { address: here, port: "443", backlog: 5 }
plainListen: {}
publicPort: 0
trustedProxies: [1, 10.0.0.0/33, 10.0.0.0/8]
certificates: [{ certificateFile: 1 }, { certificateFile: a.pem, keyFile: a.key }]
keyFile: ""
logLevel: loud
colour: red
`,
    ).sort(),
    [
      'baseDomain',
      'certificates.0.certificateFile',
      'certificates.0.keyFile',
      'colour',
      'dataDir',
      'keyFile',
      'listen.address',
      'listen.backlog',
      'listen.port',
      'logLevel',
      'plainListen.port',
      'publicPort',
      'trustedProxies.0',
      'trustedProxies.1',
    ],
  )
})

for (const [what, line, path] of [
  ['a domain with a scheme', 'baseDomain: https://a.example', 'baseDomain'],
  ['a domain with a port', 'baseDomain: a.example:443', 'baseDomain'],
  ['a domain with a final dot', 'baseDomain: a.example.', 'baseDomain'],
  ['a domain with an underscore', 'baseDomain: a_b.example', 'baseDomain'],
  ['a wildcard domain', 'baseDomain: "*.example"', 'baseDomain'],
  ['an address as a domain', 'baseDomain: 192.0.2.1', 'baseDomain'],
  ['a domain with no room for connect.', `baseDomain: ${'a.'.repeat(123)}a`, 'baseDomain'],
  ['an empty folder', 'dataDir: ""', 'dataDir'],
  ['a folder with a NUL', 'dataDir: "a\\0b"', 'dataDir'],
  ['a folder that is a list', 'dataDir: [a]', 'dataDir'],
  ['a name to listen on', 'listen: { address: localhost }', 'listen.address'],
  ['port 0', 'listen: { port: 0 }', 'listen.port'],
  ['port 65536', 'listen: { port: 65536 }', 'listen.port'],
  ['half a port', 'listen: { port: 443.5 }', 'listen.port'],
  ['no number for a port', 'listen: { port: .nan }', 'listen.port'],
  ['an endless port', 'listen: { port: .inf }', 'listen.port'],
  ['a text for listen', 'listen: "::"', 'listen'],
  ['a negative plain port', 'plainListen: { port: -1 }', 'plainListen.port'],
  [
    'metrics for all the world',
    'metricsListen: { address: "::", port: 1 }',
    'metricsListen.address',
  ],
  ['metrics by name', 'metricsListen: { address: localhost, port: 1 }', 'metricsListen.address'],
  [
    'a log file of half a MiB',
    'accessLogRotation: { maxSizeMiB: 0.5 }',
    'accessLogRotation.maxSizeMiB',
  ],
  ['no old log file at all', 'accessLogRotation: { keep: 0 }', 'accessLogRotation.keep'],
  [
    'a collector by another protocol',
    'tracing: { endpoint: "grpc://127.0.0.1:4317" }',
    'tracing.endpoint',
  ],
  [
    'a collector with a password',
    'tracing: { endpoint: "http://a:b@127.0.0.1/" }',
    'tracing.endpoint',
  ],
  [
    'more than all requests',
    'tracing: { endpoint: "http://a", sampleRatio: 2 }',
    'tracing.sampleRatio',
  ],
  ['an audit log for no time', 'auditRetentionDays: 0', 'auditRetentionDays'],
  ['a proxy with a zone', 'trustedProxies: ["fe80::1%eth0"]', 'trustedProxies.0'],
  ['a proxy with two slashes', 'trustedProxies: [10.0.0.0/8/8]', 'trustedProxies.0'],
  ['a proxy range without bits', 'trustedProxies: [10.0.0.0/]', 'trustedProxies.0'],
  ['an IPv6 range of 129 bits', 'trustedProxies: ["fd00::/129"]', 'trustedProxies.0'],
  ['a proxy by name', 'trustedProxies: [proxy.example]', 'trustedProxies.0'],
  ['one proxy that is no list', 'trustedProxies: 10.0.0.1', 'trustedProxies'],
  [
    'a certificate with a passphrase field',
    'certificates: [{ certificateFile: a, keyFile: b, passphrase: c }]',
    'certificates.0.passphrase',
  ],
  ['a feed that may be silent for a moment only', 'feedSilenceLimitMs: 9999', 'feedSilenceLimitMs'],
  ['one that may be silent for hours', 'feedSilenceLimitMs: 3600001', 'feedSilenceLimitMs'],
  ['an upper-case level', 'logLevel: INFO', 'logLevel'],
  ['a key of Object.prototype', '__proto__: { listen: 1 }', '__proto__'],
  ['a merge key', '<<: { logLevel: info }', '<<'],
] as const)
  test(`${what} is refused with its path`, () => {
    const key = line.split(':')[0]!
    const others = parse(minimal) as Record<string, string>
    delete others[key]
    assert.deepEqual(pathsOf(`${stringify(others)}${line}\n`), [path])
  })

for (const [what, text, path] of [
  ['a key that stands twice', `${minimal}dataDir: other\n`, 'line 3'],
  ['a tab for indentation', 'baseDomain: a.example\nlisten:\n\tport: 1\n', 'line 3'],
  ['a list that does not end', `${minimal}trustedProxies: [10.0.0.1\n`, 'line 4'],
  ['a key that is a list', `${minimal}? [a, b]\n: c\n`, 'line 3'],
  ['a second document', `${minimal}---\ndataDir: other\n`, 'line 3'],
  ['a tag of another language', `${minimal}keyFile: !!js/function "x"\n`, 'line 3'],
  ['a tag of nobody', `${minimal}keyFile: !secret x\n`, 'line 3'],
  ['another version of YAML', `%YAML 3.0\n---\n${minimal}`, 'line 1'],
] as const)
  test(`${what} is refused with its line`, () => {
    assert.deepEqual(pathsOf(text), [path])
  })

test('anchors and aliases are refused: what a line says stands in that line', () => {
  const text =
    'baseDomain: a.example\ndataDir: &dir data\nkeyFile: *dir\naccessLog: *nowhere\ncertificates: &list []\n'
  assert.deepEqual(pathsOf(text).sort(), ['line 2', 'line 3', 'line 4', 'line 5'])
})

test('a thousand million aliases are refused before they are counted', () => {
  const levels = Array.from({ length: 30 }, (_, level) =>
    level === 0 ? 'a0: &a0 [x]' : `a${level}: &a${level} [*a${level - 1}, *a${level - 1}]`,
  )
  assert.ok(pathsOf(levels.join('\n')).every((path) => path.startsWith('line ')))
})

test('whatever is no mapping is refused as a whole', () => {
  for (const text of ['- a', '42', 'text', 'true', '"quoted"'])
    assert.deepEqual(pathsOf(text), ['configuration'])
  for (const text of ['', '# nothing but a remark\n', 'null', '{}'])
    assert.deepEqual(pathsOf(text), ['baseDomain', 'dataDir'])
})

test('brackets without end are no crash and no flood', () => {
  for (const text of ['['.repeat(100_000), `dataDir: ${'['.repeat(30_000)}${']'.repeat(30_000)}`]) {
    const paths = pathsOf(text)
    assert.ok(paths.length > 0 && paths.length <= 10, `${paths.length} problems`)
  }
})

test('a problem never quotes a value, which could be a secret', () => {
  const secret = 'hunter2-hunter2'
  const fields = ['baseDomain', 'logLevel', 'listen', 'plainListen', 'trustedProxies', 'publicPort']
  const text = fields.map((field) => `${field}: "${secret} ${secret}"`).join('\n')
  const problems = problemsOf(() => parseServiceConfig(text))
  assert.equal(problems.length, fields.length + 1)
  assert.ok(!JSON.stringify(problems).includes(secret))
})

const hostile: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  65_536,
  2 ** 53,
  -(2 ** 63),
  1e308,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  '',
  ' ',
  '\0',
  '\n',
  '\u2028',
  '\ud800',
  '../../../../etc/passwd',
  'a'.repeat(70_000),
  'ä.example',
  'xn--a.example',
  '*',
  '%',
  '::1%lo',
  '::ffff:1.2.3.4/200',
  '0/0',
  '1.2.3.4/08',
  '1.2.3.4/-1',
  '[::1]:443',
  '__proto__',
  'constructor',
  '$(id)',
  '{{x}}',
  [],
  [[]],
  {},
  { toString: 1 },
  { length: -1 },
  { port: {} },
  [null],
  [{}],
  [{ certificateFile: {}, keyFile: [] }],
]

/** Every field, and the ones of fields that hold fields. */
const places: readonly (readonly (string | number)[])[] = [
  ['baseDomain'],
  ['dataDir'],
  ['listen'],
  ['listen', 'address'],
  ['listen', 'port'],
  ['publicPort'],
  ['plainListen'],
  ['plainListen', 'address'],
  ['plainListen', 'port'],
  ['trustedProxies'],
  ['trustedProxies', 0],
  ['certificates'],
  ['certificates', 0],
  ['certificates', 0, 'certificateFile'],
  ['certificates', 0, 'keyFile'],
  ['database'],
  ['database', 'kind'],
  ['database', 'url'],
  ['database', 'passwordFile'],
  ['database', 'caFile'],
  ['database', 'tls'],
  ['keyFile'],
  ['accessLog'],
  ['logLevel'],
]

function complete(): Record<string, unknown> {
  return {
    baseDomain: 'access.example.com',
    dataDir: 'data',
    listen: { address: '::', port: 443 },
    publicPort: 443,
    plainListen: { address: '127.0.0.1', port: 0 },
    trustedProxies: ['10.0.0.0/8'],
    certificates: [{ certificateFile: 'a.pem', keyFile: 'a.key' }],
    database: {
      kind: 'postgresql',
      url: 'postgresql://sallyport@db.example.com/sallyport',
      passwordFile: 'password',
      caFile: 'ca.pem',
      tls: 'verify',
    },
    keyFile: 'key',
    accessLog: '-',
    logLevel: 'info',
  }
}

function put(config: unknown, place: readonly (string | number)[], value: unknown): void {
  const [first, ...rest] = place as [string, ...string[]]
  const holder = config as Record<string, unknown>
  if (rest.length === 0) holder[first] = value
  else if (typeof holder[first] === 'object' && holder[first] !== null)
    put(holder[first], rest, value)
}

test('any value in any field is taken or refused under the path of that field', () => {
  assert.deepEqual(pathsOf(stringify(complete())), [])
  let refused = 0
  for (const place of places)
    for (const value of hostile) {
      const config = complete()
      put(config, place, value)
      const paths = pathsOf(stringify(config))
      for (const path of paths) assert.ok(path.startsWith(place.join('.')), `${path} for ${place}`)
      if (paths.length > 0) refused += 1
    }
  assert.ok(refused > 500, `${refused} were refused`)
})

test('fuzz: several wrong fields at once, and bytes of YAML changed at random', () => {
  const seed = Number(process.env.FUZZ_SEED ?? 20_261_124)
  const random = seeded(seed)
  const one = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)]!
  for (let round = 0; round < 1_500; round += 1) {
    const config = complete()
    for (let count = Math.floor(random() * 5); count > 0; count -= 1)
      put(config, one(places), one(hostile.filter((value) => !isLong(value))))
    let text = stringify(config)
    for (let count = Math.floor(random() * 4); count > 0; count -= 1) {
      const at = Math.floor(random() * text.length)
      const inserted = one([
        '[',
        '{',
        '&a ',
        '*a ',
        '\t',
        '\n',
        '- ',
        '!!x ',
        '"',
        "'",
        '|',
        '%',
        '\u0000',
        '---\n',
        ': ',
        '#',
      ])
      text = text.slice(0, at) + inserted + text.slice(at + Math.floor(random() * 3))
    }
    try {
      pathsOf(text)
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}: ${JSON.stringify(text)}`, { cause: error })
    }
  }
})

const isLong = (value: unknown) => typeof value === 'string' && value.length > 1_000

test('file names are relative to the file that holds them', (t) => {
  const dir = scratch(t)
  const file = join(dir, 'sallyport.yaml')
  writeFileSync(
    file,
    `${minimal}keyFile: ../key\naccessLog: log\ncertificates: [{ certificateFile: tls/a.pem, keyFile: /tls/a.key }]\n`,
  )
  const config = readServiceConfig(file)
  assert.equal(config.dataDir, join(dir, 'data'))
  assert.equal(config.keyFile, join(dir, '../key'))
  assert.equal(config.accessLog, join(dir, 'log'))
  assert.deepEqual(config.certificates, [
    { certificateFile: join(dir, 'tls/a.pem'), keyFile: '/tls/a.key' },
  ])
  assert.equal(serviceFiles(config).key, join(dir, '../key'))
})

test('standard output is no file, and the default files lie in the data folder', (t) => {
  const dir = scratch(t)
  const file = join(dir, 'sallyport.yaml')
  writeFileSync(file, `${minimal}accessLog: "-"\n`)
  assert.equal(readServiceConfig(file).accessLog, '-')
  writeFileSync(file, minimal)
  const { key, accessLog } = serviceFiles(readServiceConfig(file))
  assert.deepEqual([key, accessLog], [join(dir, 'data/key'), join(dir, 'data/access.log')])
})

test('a file that is not there, is a folder, or is no text is named', (t) => {
  const dir = scratch(t)
  const file = join(dir, 'sallyport.yaml')
  const read = () => problemsOf(() => readServiceConfig(file))
  assert.match(read()[0]!.message, /does not exist; .*--config/)
  assert.equal(read()[0]!.path, file)
  writeFileSync(file, Buffer.from([0xff, 0xfe, 0x00]))
  assert.match(read()[0]!.message, /UTF-8/)
  mkdirSync(join(dir, 'folder'))
  assert.match(problemsOf(() => readServiceConfig(join(dir, 'folder')))[0]!.message, /EISDIR/)
})

test('a data folder too deep for a socket is refused before anything is made', (t) => {
  const file = join(scratch(t), 'sallyport.yaml')
  writeFileSync(file, `baseDomain: a.example\ndataDir: ${'d'.repeat(100)}\n`)
  assert.deepEqual(
    problemsOf(() => readServiceConfig(file)).map(({ path }) => path),
    ['dataDir'],
  )
})
