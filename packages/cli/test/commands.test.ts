import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Control, serveControlSocket } from '@sallyport/control'
import type { Command } from 'commander'
import { parseServiceConfig } from '../src/config.ts'
import { examples, pathOf } from '../src/examples.ts'
import { withStoredControl } from '../src/offline.ts'
import { createProgram } from '../src/program.ts'
import { domain, install, type Outcome, run, scratch, source } from './support/programs.ts'

interface Asked {
  name: string
  input: unknown
  actor: string
}

/** What a service answers on its socket: the tests of control say what the real one does. */
async function listenFor(t: TestContext, answer: (name: string, input: never) => unknown) {
  const dir = scratch(t)
  const asked: Asked[] = []
  mkdirSync(join(dir, 'data'))
  writeFileSync(join(dir, 'sallyport.yaml'), `baseDomain: ${domain}\ndataDir: data\n`)
  const socket = await serveControlSocket(
    {
      execute: async (name, input, actor) => {
        asked.push({ name, input, actor })
        return answer(name, input as never)
      },
    },
    join(dir, 'data/control.sock'),
  )
  t.after(() => socket.close())
  const configFile = join(dir, 'sallyport.yaml')
  return {
    asked,
    sallyport: (args: readonly string[], input = '') =>
      run('sallyport', ['--config', configFile, ...args], { input }),
  }
}

const secret = 'correct horse'

const objectFile = join(import.meta.dirname, 'support/group.yaml')

/** Command line, command, and what it is asked with. */
const table: [args: string[], name: string, input: unknown][] = [
  [
    ['user', 'create', 'ana', '--mail', 'ana@example.com', '--password-stdin', '--disabled'],
    'user.create',
    {
      userName: 'ana',
      displayName: 'ana',
      mail: 'ana@example.com',
      password: secret,
      enabled: false,
    },
  ],
  [['user', 'list'], 'user.list', {}],
  [['user', 'show', 'ana'], 'user.show', { userName: 'ana' }],
  [
    ['user', 'update', 'ana', '--display-name', 'Ana', '--no-mail'],
    'user.update',
    { userName: 'ana', displayName: 'Ana', mail: null },
  ],
  [['user', 'set-password', 'ana'], 'user.set-password', { userName: 'ana', password: secret }],
  [['user', 'disable', 'ana'], 'user.disable', { userName: 'ana' }],
  [['user', 'enable', 'ana'], 'user.enable', { userName: 'ana' }],
  [['user', 'delete', 'ana'], 'user.delete', { userName: 'ana' }],
  [['group', 'create', 'staff'], 'group.create', { name: 'staff' }],
  [['group', 'list'], 'group.list', {}],
  [['group', 'show', 'staff'], 'group.show', { name: 'staff' }],
  [['group', 'add', 'staff', 'ana'], 'group.add-member', { group: 'staff', user: 'ana' }],
  [
    ['group', 'remove', '--group', 'staff', 'hr'],
    'group.remove-member',
    { group: 'staff', memberGroup: 'hr' },
  ],
  [
    ['group', 'members', 'staff', '--transitive'],
    'group.members',
    { name: 'staff', transitive: true },
  ],
  [
    ['group', 'update', 'staff', '--name', 'people'],
    'group.update',
    { name: 'staff', newName: 'people' },
  ],
  [['group', 'delete', 'staff'], 'group.delete', { name: 'staff' }],
  [
    ['app', 'create', 'payroll', '--linked', 'https://payroll.example/', '--set', 'visible=false'],
    'app.create-linked',
    {
      name: 'payroll',
      displayName: 'payroll',
      linkedUrl: 'https://payroll.example/',
      assignmentRequired: true,
      visible: false,
    },
  ],
  [
    [
      ...['app', 'create', 'hr', '--external-url', 'https://hr.example/'],
      ...['--internal-url', 'http://hr/', '--passthrough', '--no-assignment-required'],
      ...['--host-header', 'external', '--backend-timeout', '20000'],
      ...['--no-validate-backend-certificate', '--header', 'X-User=userName', '--jwt-assertion'],
      ...['--header', 'X-Mail=mail | extractMailPrefix|toUppercase'],
      ...['--header', 'X-Site="a=b"', '--set', 'visible=false', '--set', 'forwardedFor=replace'],
    ],
    'app.create',
    {
      name: 'hr',
      displayName: 'hr',
      externalUrl: 'https://hr.example/',
      internalUrl: 'http://hr/',
      connectorGroup: 'default',
      preAuthentication: 'passthrough',
      assignmentRequired: false,
      hostHeader: 'external',
      backendTimeoutMs: 20_000,
      validateBackendCertificate: false,
      signOn: {
        method: 'headers',
        headers: [
          { name: 'X-User', claim: 'userName' },
          {
            name: 'X-Mail',
            claim: 'mail',
            transforms: [{ transform: 'extractMailPrefix' }, { transform: 'toUppercase' }],
          },
          { name: 'X-Site', value: 'a=b' },
        ],
      },
      jwtAssertion: true,
      visible: false,
      forwardedFor: 'replace',
    },
  ],
  [['app', 'list'], 'app.list', {}],
  [['app', 'show', 'hr'], 'app.show', { name: 'hr' }],
  [
    ['app', 'update', 'hr', 'displayName=Human Resources', 'backendTimeoutMs=5', 'signOn=null'],
    'app.update',
    { name: 'hr', set: { displayName: 'Human Resources', backendTimeoutMs: 5, signOn: null } },
  ],
  [['app', 'assign', 'hr', '--user', 'ana'], 'app.assign', { name: 'hr', user: 'ana' }],
  [['app', 'unassign', 'hr', '--group', 'staff'], 'app.unassign', { name: 'hr', group: 'staff' }],
  [['app', 'delete', 'hr'], 'app.delete', { name: 'hr' }],
  [['app', 'certificate', 'list', 'hr'], 'app.certificate.list', { name: 'hr' }],
  [['app', 'certificate', 'create', 'hr'], 'app.certificate.create', { name: 'hr' }],
  [
    ['app', 'certificate', 'activate', 'hr', 'a1'],
    'app.certificate.activate',
    { name: 'hr', id: 'a1' },
  ],
  [
    ['app', 'certificate', 'delete', 'hr', 'a1'],
    'app.certificate.delete',
    { name: 'hr', id: 'a1' },
  ],
  [['app', 'oidc', 'hr'], 'app.oidc.show', { name: 'hr' }],
  [['app', 'secret', 'list', 'hr'], 'app.secret.list', { name: 'hr' }],
  [['app', 'secret', 'create', 'hr'], 'app.secret.create', { name: 'hr' }],
  [['app', 'secret', 'delete', 'hr', 'a1'], 'app.secret.delete', { name: 'hr', id: 'a1' }],
  [['connector-group', 'create', 'edge'], 'connector-group.create', { name: 'edge' }],
  [['connector-group', 'list'], 'connector-group.list', {}],
  [['connector-group', 'delete', 'edge'], 'connector-group.delete', { name: 'edge' }],
  [['connector', 'list'], 'connector.list', {}],
  [['connector', 'show', 'one'], 'connector.show', { connector: 'one' }],
  [
    ['connector', 'move', 'one', '--connector-group', 'edge'],
    'connector.move',
    { connector: 'one', connectorGroup: 'edge' },
  ],
  [['connector', 'revoke', 'one'], 'connector.revoke', { connector: 'one' }],
  [
    ['connector', 'trust-key', 'one', 'fp'],
    'connector.trust-key',
    { connector: 'one', fingerprint: 'fp' },
  ],
  [
    ['credential', 'set', 'hr', '--user', 'ana', '--login', 'a.l', '--password-file', '-'],
    'credential.set',
    { application: 'hr', user: 'ana', userName: 'a.l', password: secret },
  ],
  [['credential', 'list', '--app', 'hr'], 'credential.list', { application: 'hr' }],
  [
    ['credential', 'delete', 'hr', '--group', 'staff'],
    'credential.delete',
    { application: 'hr', group: 'staff' },
  ],
  [
    ['token', 'create', '--connector-group', 'edge', '--minutes', '5'],
    'token.create',
    { connectorGroup: 'edge', lifetimeMs: 300_000 },
  ],
  [['token', 'list'], 'token.list', {}],
  [['token', 'delete', 'abc'], 'token.delete', { id: 'abc' }],
  [['session', 'list', '--user', 'ana', '--limit', '5'], 'session.list', { user: 'ana', limit: 5 }],
  [['session', 'end', 'abc'], 'session.end', { sessionId: 'abc' }],
  [['session', 'end-all', 'ana'], 'session.end-all', { userName: 'ana' }],
  [['key', 'list'], 'key.list', { use: 'cookies' }],
  [['key', 'jwks'], 'key.jwks', {}],
  [
    ['key', 'rotate', '--use', 'assertions', '--forget-older'],
    'key.rotate',
    { use: 'assertions', forgetOlder: true },
  ],
  [
    [
      ['audit', 'list', '--action', 'user-created', '--subject', 'x', '--limit', '7'],
      ['--user', 'ana', '--since', '2026-01-31', '--until', '2026-02-01T08:00:00+01:00'],
    ].flat(),
    'audit.list',
    {
      kind: 'user-created',
      subject: 'x',
      user: 'ana',
      sinceAt: Date.UTC(2026, 0, 31),
      untilAt: Date.UTC(2026, 1, 1, 7),
      limit: 7,
    },
  ],
  [['--json', 'status'], 'status', {}],
  [
    ['apply', '-f', objectFile, '--plan'],
    'objects.plan',
    { objects: [{ kind: 'group', name: 'staff' }], prune: [] },
  ],
  [
    ['apply', '-f', objectFile, '--prune', '--expect', '1'],
    'objects.apply',
    { objects: [{ kind: 'group', name: 'staff' }], prune: ['group'], expect: '1' },
  ],
  [['export'], 'objects.export', {}],
]

test('every command line asks for what it says, and no command is out of reach', async (t) => {
  const { asked, sallyport } = await listenFor(t, (name) =>
    /\.(?:list|members|export)$/.test(name)
      ? []
      : { changes: [], id: 'id', token: 'sp1.x.y', expiresAt: 0, service: 'https://x' },
  )
  await inPairs(table, async ([args, name, input]) => {
    const outcome = await sallyport(args, `${secret}\n`)
    assert.equal(outcome.status, 0, `${args.join(' ')}: ${outcome.stderr}`)
    const answered = asked.filter((one) => one.name === name)
    assert.deepEqual(
      answered.map((one) => one.input),
      [input],
    )
    assert.match(answered[0]!.actor, /^cli:[\x21-\x7e]+$/)
    assert.ok(!`${outcome.stdout}${outcome.stderr}`.includes(secret))
  })

  const dataDir = join(scratch(t), 'data')
  const config = { ...parseServiceConfig(`baseDomain: ${domain}\ndataDir: data`), dataDir }
  const offered = await withStoredControl(config, async (control: Control) => [
    ...control.commands.keys(),
  ])
  // `sallyport backup` goes on with what it is given: its own tests have it.
  const asking = [...table.map(([, name]) => name), 'backup.copy']
  assert.deepEqual([...new Set(asking)].sort(), offered.sort())
})

test('--json prints every list, and what a change made', async (t) => {
  const rows = [{ id: '1', name: 'a', userName: 'ana', at: 5, detail: { x: 1 } }]
  const { sallyport } = await listenFor(t, (name) =>
    name.endsWith('.list') ? rows : { id: '1', createdAt: 7 },
  )
  const lists = table.filter(([, name]) => name.endsWith('.list'))
  await inPairs(lists.entries(), async ([index, [args, name]]) => {
    // Before the command, or after it.
    const { stdout, status } = await sallyport(
      index % 2 === 0 ? ['--json', ...args] : [...args, '--json'],
    )
    assert.equal(status, 0)
    assert.deepEqual(JSON.parse(stdout), rows, name)
  })
  const { stdout } = await sallyport(['group', 'create', 'staff', '--json'])
  assert.deepEqual(JSON.parse(stdout), { id: '1', createdAt: 7 })
})

test('a session is listed with the browser as people call it; programs get all that it said', async (t) => {
  const userAgent =
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36'
  const rows = [
    {
      userName: 'ana',
      signedInAt: 0,
      clientAddress: '192.0.2.7',
      methods: ['pwd'],
      userAgent,
      id: 'x',
    },
    {
      userName: 'ben',
      signedInAt: 0,
      clientAddress: null,
      methods: ['pwd'],
      userAgent: null,
      id: 'y',
    },
  ]
  const { sallyport } = await listenFor(t, () => rows)
  const { stdout } = await sallyport(['session', 'list'])
  const [, ana, ben] = stdout.split('\n').map((line) => line.split(/ {2,}/))
  assert.deepEqual(ana!.slice(3), ['192.0.2.7', 'Chrome on Linux', 'pwd', 'x'])
  assert.deepEqual(ben!.slice(3), ['-', 'An unknown browser', 'pwd', 'y'])
  assert.deepEqual(JSON.parse((await sallyport(['session', 'list', '--json'])).stdout), rows)
})

test('a long audit log is fetched page by page', async (t) => {
  const total = 2_345
  const all = Array.from({ length: total }, (_, index) => ({
    id: String(index),
    at: total - index,
    kind: 'user-created',
    actor: 'cli:root',
    subject: 's',
    detail: {},
  }))
  const { asked, sallyport } = await listenFor(
    t,
    (_name, { limit, before }: { limit: number; before?: { id: string } }) => {
      const start = before ? Number(before.id) + 1 : 0
      return all.slice(start, start + limit)
    },
  )
  const count = async (limit: string) => {
    const { stdout } = await sallyport(['audit', 'list', '--limit', limit, '--json'])
    return (JSON.parse(stdout) as { id: string }[]).map(({ id }) => Number(id))
  }
  assert.deepEqual(await count('3000'), [...all.keys()])
  assert.equal(asked.length, 3)
  assert.deepEqual(await count('1500'), [...all.keys()].slice(0, 1_500))
})

test('a password keeps its spaces, and loses the line end of echo only', async (t) => {
  const { asked, sallyport } = await listenFor(t, () => ({}))
  for (const [typed, kept] of [
    ['  two spaces  \n', '  two spaces  '],
    ['no line end', 'no line end'],
    ['windows\r\n', 'windows'],
    ['two\n\n', 'two\n'],
  ] as const) {
    await sallyport(['user', 'set-password', 'ana'], typed)
    assert.equal((asked.at(-1)!.input as { password: string }).password, kept)
  }
})

test('metadata of an application becomes its sign-on, and what it cannot say stays', async (t) => {
  const old = {
    method: 'saml',
    sign: 'both',
    nameId: { format: 'transient' },
    entityId: 'urn:old',
    encryptionCertificate: 'x',
  }
  const { asked, sallyport } = await listenFor(t, () => ({ signOn: old }))
  const folder = scratch(t)
  const file = join(folder, 'sp.xml')
  writeFileSync(
    file,
    `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="urn:hr"><SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://hr/acs"/></SPSSODescriptor></EntityDescriptor>`,
  )
  const { status, stdout } = await sallyport(['app', 'saml', 'hr', '--metadata', file])
  assert.equal(status, 0)
  assert.match(stdout, /urn:hr/)
  assert.deepEqual(asked.at(-1)?.input, {
    name: 'hr',
    set: {
      signOn: {
        method: 'saml',
        sign: 'both',
        nameId: { format: 'transient' },
        entityId: 'urn:hr',
        assertionConsumerServices: [{ url: 'https://hr/acs' }],
        requestCertificates: [],
        requireSignedRequests: false,
      },
    },
  })
  writeFileSync(file, '<a/>')
  const sent = asked.length
  for (const wrong of [file, join(folder, 'none')]) {
    const outcome = await sallyport(['app', 'saml', 'hr', '--metadata', wrong])
    assert.equal(outcome.status, 1)
    assert.match(outcome.stderr, /EntityDescriptor|no such file/)
    assert.doesNotMatch(outcome.stderr, /\n\s+at /)
  }
  assert.equal(asked.length, sent)
})

test('wrong arguments are one line and where the help is, with status 64', async (t) => {
  const { asked, sallyport } = await listenFor(t, () => ({}))
  const wrong: [string[], RegExp][] = [
    [['frob'], /sallyport: unknown command 'frob'/],
    [
      ['user', 'craete', 'ana'],
      /sallyport user: unknown command 'craete'\n\(Did you mean create\?\)/,
    ],
    [['user', 'create'], /sallyport user create: missing required argument 'userName'/],
    [['user', 'create', 'ana', '--password', 'x'], /unknown option '--password'/],
    [['app', 'create', 'hr'], /required option '--external-url <url>' not specified/],
    [
      ['app', 'create', 'hr', '--external-url', 'https://hr.example/'],
      /required option '--internal-url <url>' not specified/,
    ],
    [
      ['app', 'create', 'hr', '--linked', 'https://x/', '--external-url', 'https://hr.example/'],
      /'--linked <url>' cannot be used with option '--external-url <url>'/,
    ],
    [['app', 'update', 'hr', 'displayName'], /must be written as FIELD=VALUE/],
    [['app', 'update', 'hr'], /missing required argument/],
    [['token', 'create', '--minutes', '0'], /--minutes.* must be a whole number from 1 to 1440/],
    [['token', 'create', '--minutes', '1e1'], /must be a whole number/],
    [['audit', 'list', '--limit', '-1'], /must be a whole number/],
    [['audit', 'list', '--since', '2026-02-30'], /--since.* must be such as 30m, 2h, 7d, 2026-/],
    [['audit', 'list', '--until', 'noon'], /--until.* must be such as/],
    [['serve', 'now'], /too many arguments/],
  ]
  await inPairs(wrong, async ([args, said]) => {
    const { status, stdout, stderr } = await sallyport(args)
    assert.equal(status, 64, args.join(' '))
    assert.equal(stdout, '')
    assert.match(stderr, said)
    assert.match(stderr, /\nsee: sallyport [a-z ]*--help\n$/)
    assert.doesNotMatch(stderr, /\n\s+at /)
  })
  assert.deepEqual(asked, [])
})

test('every command says what it does, and none takes a secret as an argument', () => {
  for (const command of allOf(createProgram())) {
    assert.notEqual(command.description(), '', command.name())
    for (const { flags } of command.options)
      if (/pass|token|secret|key/.test(flags))
        assert.ok(
          ['--password-stdin', '--passthrough', '--include-key', '--password-file <file>'].includes(
            flags,
          ),
          flags,
        )
    for (const argument of command.registeredArguments)
      assert.doesNotMatch(argument.name(), /password|token|secret|key/)
  }
})

test('every command has an example in its help, and every example is a command line that is understood', () => {
  const commands = allOf(createProgram()).filter(
    (command) => command.commands.length === 0 && command.name() !== 'help',
  )
  assert.deepEqual(Object.keys(examples).sort(), commands.map(pathOf).sort())
  for (const command of commands)
    for (const line of examples[pathOf(command)]!) {
      // What a shell makes of it, as far as these lines need one.
      const [call = ''] = line.slice(line.indexOf('sallyport ')).split(/ [|>] /)
      const words = [...call.matchAll(/'[^']*'|(?:"[^"]*"|[^ "])+/g)].map(([word]) =>
        word.replace(/^'|'$|"/g, ''),
      )
      const program = createProgram()
      const parsed: string[] = []
      for (const one of allOf(program)) one.action(() => void parsed.push(pathOf(one)))
      program.parse(words.slice(1), { from: 'user' })
      assert.deepEqual(parsed, [pathOf(command)], line)
    }
})

function allOf(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allOf)]
}

/** One process for each core of the smallest machine. */
async function inPairs<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]()
  const take = async () => {
    for (let next = rest.next(); !next.done; next = rest.next()) await work(next.value)
  }
  await Promise.all([take(), take()])
}

test('while the service is stopped, the store is asked; while it runs, the service is', async (t) => {
  const place = await install(t)
  const ok = async (args: string[], input?: string) => {
    const outcome = await place.sallyport(args, input)
    assert.equal(outcome.status, 0, `${args.join(' ')}: ${outcome.stderr}`)
    return outcome
  }
  const external = `https://hr.${domain}:${place.port}/`
  const first = await ok(['user', 'create', 'ana', '--password-stdin'], `${secret}\n`)
  assert.match(first.stdout, /^user ana created \([0-9a-f-]{36}\)\n$/)
  await ok(['app', 'create', 'hr', '--external-url', external, '--internal-url', 'http://hr/'])
  const stopped = JSON.parse((await ok(['status', '--json'])).stdout) as Record<string, unknown>
  assert.equal(stopped.running, false)
  assert.match(
    (await ok(['status'])).stdout,
    /^Service +not running\nBase domain +sallyport\.local/,
  )

  const service = await place.serve()
  const running = JSON.parse((await ok(['status', '--json'])).stdout) as Record<string, unknown>
  assert.deepEqual(running, { ...stopped, running: true, certificates: [], warnings: [] })
  assert.match(
    (await ok(['status'])).stdout,
    /^Service +running, port \d+\n(?:.*\n)+Warnings +none\n$/,
  )
  await ok(['app', 'assign', 'hr', '--user', 'ana'])
  assert.match((await ok(['app', 'list'])).stdout, /^NAME .*\nhr .* ana +-\n$/)

  const refusals: [string[], RegExp][] = [
    [
      ['user', 'create', 'ana'],
      /^sallyport: userName: there is a user "ana" already; choose another name\n$/,
    ],
    [
      ['user', 'show', 'eve'],
      /^sallyport: userName: there is no user "eve"; see: sallyport user list\n$/,
    ],
    [['app', 'assign', 'hr'], /^sallyport: user: give either user or group\n$/],
    [
      ['app', 'update', 'hr', 'externalUrl=http://x', 'colour=red'],
      /^sallyport: externalUrl: must begin with https:\/\/\nsallyport: colour: is not a known field; .*\n$/,
    ],
    [['user', 'create', 'eve', '--mail', 'x'], /^sallyport: mail: must be a mail address.*\n$/],
    [['user', 'update', 'ana'], /^sallyport: nothing to change: give .*\n$/],
    [
      ['connector-group', 'delete', 'default'],
      /^sallyport: name: is used by the applications hr; .*\n$/,
    ],
  ]
  for (const [args, said] of refusals) {
    const { status, stdout, stderr } = await place.sallyport(args)
    assert.deepEqual([status, stdout], [1, ''], args.join(' '))
    assert.match(stderr, said)
  }
  await service.stop()
  for (const [args, said] of refusals.slice(0, 3)) {
    const { status, stderr } = await place.sallyport(args)
    assert.equal(status, 1)
    assert.match(stderr, said, 'the same without the service')
  }
  assert.match((await ok(['audit', 'list', '--action', 'application-assigned'])).stdout, /cli:\w+/)
})

test('a command waits for a service that is just starting, and for other commands', async (t) => {
  const place = await install(t)
  assert.equal((await place.sallyport(['group', 'create', 'staff'])).status, 0)
  const starting = place.serve()
  const outcomes: Outcome[] = await Promise.all(
    ['a', 'b', 'c', 'd'].map((name) => place.sallyport(['group', 'create', name])),
  )
  assert.deepEqual(
    outcomes.map(({ status, stderr }) => `${status} ${stderr}`),
    ['0 ', '0 ', '0 ', '0 '],
  )
  await starting
  const { stdout } = await place.sallyport(['group', 'list', '--json'])
  assert.deepEqual((JSON.parse(stdout) as { name: string }[]).map(({ name }) => name).sort(), [
    'a',
    'b',
    'c',
    'd',
    'staff',
  ])
})

test('a command that only asks the service loads neither database nor certificate code', () => {
  const text = readFileSync(join(source, 'administration.ts'), 'utf8')
  assert.doesNotMatch(text, /from '@sallyport\/(?!control\/socket')/)
})
