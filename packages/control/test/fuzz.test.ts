import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ControlError } from '@sallyport/control'
import { objectKinds, objectSchemas } from '@sallyport/control/objects'
import { sql } from 'kysely'
import { z } from 'zod'
import { startTestControl, type TestControl } from './service.ts'

const seed = Number(process.env.FUZZ_SEED ?? 20_261_125)

/** mulberry32: a failure can be run again. */
function seeded(): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** What JSON can hold, and what YAML makes of strange files. */
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
  '',
  ' ',
  '\0',
  '\n',
  '\u2028',
  '\u202e',
  '\ud800',
  '\x1b[31m',
  '../../../../etc/passwd',
  'a'.repeat(70_000),
  "'; DROP TABLE user; --",
  '%',
  '*',
  '$(id)',
  '{{x}}',
  '<script>',
  '__proto__',
  'constructor',
  'toString',
  'http://user:secret@x/',
  'https://*.*/',
  'https://x/%2e%2e/',
  'javascript:alert(1)',
  '00000000-0000-4000-8000-000000000000',
  [],
  [[]],
  [null],
  [{}],
  ['ana', 'ana'],
  {},
  { toString: 1 },
  { length: -1 },
  JSON.parse('{"__proto__":{"admin":true}}'),
]

/** Values that fit where a field has this name, so that one wrong field stands among right ones. */
const samples: Record<string, unknown> = {
  userName: 'ana',
  displayName: 'Ana',
  mail: 'ana@example.com',
  password: 'correct horse',
  enabled: true,
  name: 'hr',
  newName: 'hr2',
  group: 'staff',
  user: 'ana',
  memberGroup: 'inner',
  externalUrl: 'https://x.sallyport.localhost:8443/',
  internalUrl: 'http://x.internal/',
  connector: 'none',
  connectorGroup: 'default',
  set: { visible: false },
  objects: [{ kind: 'group', name: 'staff' }],
  limit: 10,
}

const tables = [
  'user',
  'group',
  'group_member',
  'application',
  'assignment',
  'connector_group',
].concat(['connector', 'enrolment_token', 'session', 'audit_event', 'setting'])

/** All that is stored. */
async function dump({ store }: TestControl): Promise<string> {
  const rows: unknown[] = []
  for (const table of tables)
    rows.push((await sql`SELECT * FROM ${sql.table(table)} ORDER BY 1, 2`.execute(store.db)).rows)
  return JSON.stringify(rows)
}

async function fill(service: TestControl): Promise<void> {
  await service.execute('user.create', { userName: 'root', password: 'correct horse' })
  await service.execute('user.create', { userName: 'ana' })
  for (const name of ['staff', 'inner', 'hr']) await service.execute('group.create', { name })
  await service.execute('app.create', {
    name: 'hr',
    externalUrl: 'https://hr.sallyport.localhost:8443/',
    internalUrl: 'http://hr.internal/',
  })
}

const refusals = ['INPUT_INVALID', 'NOT_FOUND', 'CONFLICT', 'CONFIGURATION_INVALID']

/** What is stored, as long as nothing was changed since. */
const known = new WeakMap<TestControl, string>()

/** Carries a command out; what is refused must have changed nothing. @returns the paths of what was wrong */
async function attempt(service: TestControl, name: string, input: unknown): Promise<string[]> {
  const before = known.get(service) ?? (await dump(service))
  known.set(service, before)
  try {
    await service.execute(name, input)
    if (service.control.commands.get(name)?.changes) known.delete(service)
    return []
  } catch (error) {
    const { code, problems, message } = error as ControlError
    const what = `${name} ${JSON.stringify(input)?.slice(0, 300)}`
    assert.ok(refusals.includes(code), `${what}: ${(error as Error).stack}`)
    assert.ok(problems.length > 0 && message.length > 0, what)
    assert.equal(await dump(service), before, what)
    return problems.map(({ path }) => path)
  }
}

interface JsonSchema {
  properties?: Record<string, JsonSchema>
  items?: JsonSchema
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
}

const schemaOf = (schema: z.ZodType) =>
  z.toJSONSchema(schema, { io: 'input', target: 'draft-7' }) as JsonSchema

test('any value in any field of any command is taken, or refused under the path of that field', async (t) => {
  const service = await startTestControl(t)
  await fill(service)
  let refused = 0
  let fields = 0
  for (const [name, { input, changes }] of service.control.commands) {
    // It writes a copy for each time that it is asked.
    if (name === 'backup.copy') continue
    for (const field of Object.keys(schemaOf(input).properties ?? {})) {
      fields += 1
      const base = Object.fromEntries(
        Object.keys(schemaOf(input).properties!)
          .filter(
            (other) =>
              Object.hasOwn(samples, other) && (other !== 'memberGroup' || field === other),
          )
          .map((other) => [other, samples[other]]),
      )
      for (const value of changes ? hostile : hostile.slice(0, 20)) {
        const paths = await attempt(service, name, { ...base, [field]: value })
        if (paths.length > 0) refused += 1
        // The other fields have no wrong type; but they may name what is not there, and what was taken before may be in
        // the way of the whole.
        for (const path of paths)
          assert.ok(
            path === field || path.startsWith(`${field}.`) || !/^(?!applications\.).*\./.test(path),
            `${name}: ${path} for ${field}`,
          )
      }
      await attempt(service, name, { ...base, [`${field}x`]: 1 })
    }
  }
  assert.ok(fields > 60 && refused > 1_000, `${fields} fields, ${refused} refused`)
  // The process lives, and what is stored is a configuration.
  await service.execute('status')
  await service.restart()
})

const objectSamples: Record<string, Record<string, unknown>> = {
  connectorGroup: { kind: 'connectorGroup', name: 'branch' },
  user: {
    kind: 'user',
    userName: 'ana',
    displayName: 'A',
    mail: 'a@b.example',
    accountEnabled: true,
  },
  group: { kind: 'group', name: 'staff', members: { users: ['ana'], groups: ['inner'] } },
  application: {
    kind: 'application',
    name: 'hr',
    displayName: 'HR',
    externalUrl: 'https://hr.sallyport.localhost:8443/',
    internalUrl: 'http://hr.internal/',
    singleSignOnSettings: {
      singleSignOnMode: 'headerBased',
      headers: [
        {
          name: 'X-User',
          claim: 'groups',
          transforms: [{ transform: 'regexReplace', pattern: '(a)', replacement: '$1' }],
          separator: ',',
        },
        { name: 'X-Site', value: 'a' },
      ],
      paths: [{ path: '/x/', headers: [{ name: 'X-User', claim: 'mail' }] }],
    },
    jwtAssertion: true,
    stripHeaders: ['X-Old'],
    applicationServerTimeout: '20s',
    assignments: { users: ['ana'], groups: ['staff'] },
  },
  linkedApplication: {
    kind: 'linkedApplication',
    name: 'payroll',
    displayName: 'Payroll',
    linkedUrl: 'https://payroll.example/',
    appRoleAssignmentRequired: true,
    visible: true,
    assignments: { users: ['ana'], groups: ['staff'] },
  },
}

type Place = readonly (string | number)[]

/** Every field of a schema, those within fields too. */
function placesIn(schema: JsonSchema, above: Place = []): Place[] {
  const branches = [schema, ...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]
  return branches.flatMap(({ properties = {}, items }) => [
    ...Object.entries(properties).flatMap(([name, field]) => [
      [...above, name],
      ...placesIn(field, [...above, name]),
    ]),
    ...(items ? [[...above, 0], ...placesIn(items, [...above, 0])] : []),
  ])
}

function put(holder: unknown, [first, ...rest]: Place, value: unknown): void {
  const at = holder as Record<string | number, unknown>
  if (rest.length === 0) {
    // As a parser sets it.
    Object.defineProperty(at, first!, {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    })
    return
  }
  if (typeof at[first!] !== 'object' || at[first!] === null) at[first!] = {}
  put(at[first!], rest, value)
}

/** Each once: alternatives have fields of the same name, and headers of a path are like those of an application. */
const places = objectKinds.flatMap((kind) =>
  [
    ...new Map(
      placesIn(schemaOf(objectSchemas[kind])).map((place) => [place.join('.'), place]),
    ).values(),
  ]
    .filter((place) => !/paths\.0\.headers\../.test(place.join('.')))
    .map((place) => ({ kind, place })),
)

test('any value in any field of any object is taken, or refused under the path of that field', async (t) => {
  const service = await startTestControl(t)
  await fill(service)
  let refused = 0
  for (const { kind, place } of places)
    for (const value of hostile) {
      const object = structuredClone(objectSamples[kind])
      put(object, place, value)
      const paths = await attempt(service, 'objects.plan', { objects: [object] })
      if (paths.length > 0) refused += 1
      // A wrong kind or name makes another object of it; and pre-authentication is a matter of several fields.
      if (place[0] === 'kind' || place[0] === 'name') continue
      for (const path of paths)
        assert.ok(
          path.startsWith(`objects.0.${place[0]}`) || path === 'objects.0.name',
          `${path} for ${kind} ${place.join('.')} ${JSON.stringify(value)?.slice(0, 100)}`,
        )
    }
  assert.ok(places.length > 40 && refused > 1_000, `${places.length} places, ${refused} refused`)
})

test('fuzz: objects with several wrong fields are applied whole, or not at all', async (t) => {
  const service = await startTestControl(t)
  await fill(service)
  const random = seeded()
  const one = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)]!
  let applied = 0
  for (let round = 0; round < 400; round += 1) {
    const objects = Array.from({ length: 1 + Math.floor(random() * 5) }, () => {
      const kind = one(objectKinds)
      const object = structuredClone(objectSamples[kind])!
      // Half of them stay right.
      for (let count = Math.floor(random() * 3) - 1; count > 0; count -= 1)
        put(object, one(places.filter((one) => one.kind === kind)).place, one(hostile))
      if (random() < 0.5) put(object, [kind === 'user' ? 'userName' : 'name'], `n${round}`)
      return object
    })
    const prune = random() < 0.2 ? [one(objectKinds)] : []
    const paths = await attempt(service, 'objects.apply', { objects, prune })
    if (paths.length > 0) continue
    applied += 1
    const { changes } = await service.execute<{ changes: unknown[] }>('objects.plan', {
      objects,
      prune,
    })
    assert.deepEqual(changes, [], `seed ${seed}, round ${round}: ${JSON.stringify(objects)}`)
  }
  assert.ok(applied > 40, `${applied} were applied`)
  const exported = await service.execute<unknown[]>('objects.export')
  const { changes } = await service.execute<{ changes: unknown[] }>('objects.plan', {
    objects: exported,
    prune: [...objectKinds],
  })
  assert.deepEqual(changes, [])
})
