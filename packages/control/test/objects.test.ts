import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { ControlError } from '@sallyport/control'
import type { ObjectChange } from '@sallyport/control/objects'
import { startTestControl, type TestControl } from './service.ts'

const url = (name: string) => `https://${name}.sallyport.localhost:8443/`

const headers = [
  {
    name: 'X-User',
    claim: 'mail',
    transforms: [
      { transform: 'ifEmpty', output: { claim: 'userName' } },
      { transform: 'extractMailPrefix' },
      { transform: 'regexReplace', pattern: '^(.)', replacement: 'x$1' },
      { transform: 'join', before: { value: 'CORP' }, separator: '\\' },
    ],
  },
  { name: 'X-Groups', claim: 'groups', separator: ',', multivalued: true },
  { name: 'X-Site', value: 'a=b' },
]

/** Everything that refers to something else, in an order in which nothing is there yet. */
const all = [
  {
    kind: 'application',
    name: 'hr',
    displayName: 'Human Resources',
    externalUrl: url('hr'),
    internalUrl: 'http://hr.internal/',
    connectorGroup: 'branch',
    applicationServerTimeout: '20s',
    isTranslateHostHeaderEnabled: false,
    isBackendCertificateValidationEnabled: false,
    singleSignOnSettings: {
      singleSignOnMode: 'headerBased',
      headers,
      paths: [{ path: '/reports/', headers: [{ name: 'X-Reader', claim: 'mail' }] }],
    },
    jwtAssertion: true,
    stripHeaders: ['Remote-User'],
    assignments: { users: ['ben'], groups: ['staff'] },
  },
  {
    kind: 'application',
    name: 'open',
    externalUrl: url('open'),
    internalUrl: 'http://open.internal/',
    externalAuthenticationType: 'passthru',
    appRoleAssignmentRequired: false,
    // As Entra has it.
    isHttpOnlyCookieEnabled: true,
    isPersistentCookieEnabled: false,
  },
  {
    kind: 'linkedApplication',
    name: 'payroll',
    displayName: 'Payroll',
    linkedUrl: 'https://payroll.saas.example/start',
    assignments: { users: ['ana'], groups: ['staff'] },
  },
  {
    kind: 'linkedApplication',
    name: 'canteen',
    linkedUrl: 'http://canteen.example/',
    appRoleAssignmentRequired: false,
    visible: false,
  },
  { kind: 'group', name: 'staff', members: { users: ['ana'], groups: ['inner'] } },
  { kind: 'group', name: 'inner', members: { users: ['ANA', 'ben'] } },
  { kind: 'user', userName: 'ana', displayName: 'Ana', mail: 'ana@example.com' },
  { kind: 'user', userName: 'Ben', accountEnabled: false },
  { kind: 'connectorGroup', name: 'branch' },
]

interface Result {
  id: string
  changes: ObjectChange[]
}

function tools(service: TestControl) {
  const run =
    (command: string) =>
    (objects: unknown, more: object = {}) =>
      service.execute<Result>(command, { objects, ...more })
  return {
    plan: run('objects.plan'),
    apply: run('objects.apply'),
    exported: () => service.execute<Record<string, unknown>[]>('objects.export'),
  }
}

async function start(t: TestContext) {
  const service = await startTestControl(t)
  return { service, ...tools(service) }
}

async function refusal(work: Promise<unknown>): Promise<ControlError> {
  try {
    await work
  } catch (error) {
    return error as ControlError
  }
  throw new Error('was not refused')
}

const pathsOf = async (work: Promise<unknown>) =>
  (await refusal(work)).problems.map(({ path }) => path).sort()

test('objects are applied in any order, seen in the snapshot, and applied again change nothing', async (t) => {
  const { service, plan, apply } = await start(t)
  const planned = await plan(all)
  assert.deepEqual(await service.auditKinds(), [], 'a plan changes nothing')
  const applied = await apply(all)
  assert.deepEqual(applied, planned)
  assert.equal(applied.changes.filter(({ action }) => action === 'create').length, all.length)
  const app = [...service.control.snapshot().applications.values()].find(
    ({ application }) => application.name === 'hr',
  )!
  assert.deepEqual(
    { ...app.application, id: '' },
    {
      id: '',
      name: 'hr',
      displayName: 'Human Resources',
      externalUrl: url('hr'),
      internalUrl: 'http://hr.internal/',
      connectorGroup: 'branch',
      preAuthentication: 'identity',
      assignmentRequired: true,
      signOn: {
        method: 'headers',
        headers,
        paths: [{ path: '/reports/', headers: [{ name: 'X-Reader', claim: 'mail' }] }],
      },
      jwtAssertion: true,
      stripHeaders: ['Remote-User'],
      hostHeader: 'external',
      forwardedFor: 'append',
      backendTimeoutMs: 20_000,
      validateBackendCertificate: false,
      connectionAuthentication: false,
      allowMixedPreAuthentication: false,
      visible: true,
    },
  )
  assert.equal(app.assigned.size, 2)
  const ben = await service.execute<{ enabled: boolean; groups: string[] }>('user.show', {
    userName: 'ben',
  })
  assert.deepEqual([ben.enabled, ben.groups], [false, ['inner', 'staff']])
  service.events.length = 0
  const before = (await service.auditKinds()).length
  assert.deepEqual((await apply(all)).changes, [])
  assert.deepEqual(service.events, [], 'nobody is told of nothing')
  assert.equal((await service.auditKinds()).length, before)
})

test('what is exported is applied again without a change, here and in an empty service', async (t) => {
  const { apply, plan, exported } = await start(t)
  await apply(all)
  const objects = await exported()
  assert.deepEqual((await plan(objects, { prune: kinds })).changes, [])
  const other = await start(t)
  await other.apply(objects)
  assert.deepEqual(await other.exported(), objects)
})

const kinds = ['connectorGroup', 'user', 'group', 'application', 'linkedApplication']

test('a change by hand is seen as drift, field by field, and taken back', async (t) => {
  const { service, plan, apply } = await start(t)
  await apply(all)
  await service.execute('app.update', {
    name: 'hr',
    set: { backendTimeoutMs: 1_500, visible: false },
  })
  await service.execute('app.assign', { name: 'hr', user: 'ana' })
  await service.execute('app.unassign', { name: 'hr', group: 'staff' })
  await service.execute('group.remove-member', { group: 'staff', user: 'ana' })
  await service.execute('user.update', { userName: 'ana', mail: null })
  await service.execute('user.enable', { userName: 'ben' })
  await service.execute('user.create', { userName: 'eve' })
  assert.deepEqual((await plan(all)).changes, [
    {
      action: 'update',
      kind: 'user',
      name: 'ana',
      fields: [{ field: 'mail', before: undefined, after: 'ana@example.com' }],
    },
    {
      action: 'update',
      kind: 'user',
      name: 'ben',
      fields: [{ field: 'accountEnabled', before: true, after: false }],
    },
    {
      action: 'update',
      kind: 'group',
      name: 'staff',
      fields: [{ field: 'members.users', added: ['ana'], removed: [] }],
    },
    {
      action: 'update',
      kind: 'application',
      name: 'hr',
      fields: [
        { field: 'visible', before: false, after: true },
        { field: 'applicationServerTimeout', before: '1500ms', after: '20s' },
        { field: 'assignments.users', added: [], removed: ['ana'] },
        { field: 'assignments.groups', added: ['staff'], removed: [] },
      ],
    },
  ])
  await apply(all)
  assert.deepEqual((await plan(all)).changes, [])
  assert.ok(await service.execute('user.show', { userName: 'eve' }), 'without prune she stays')
})

test('what is left out of an object has its default, but people and accounts stay as they are', async (t) => {
  const { service, apply } = await start(t)
  await apply(all)
  await apply([
    { kind: 'application', name: 'hr', externalUrl: url('hr'), internalUrl: 'http://hr.internal/' },
    { kind: 'user', userName: 'ben' },
    { kind: 'group', name: 'staff' },
  ])
  const hr = await service.execute<Record<string, unknown>>('app.show', { name: 'hr' })
  assert.deepEqual(
    [hr.displayName, hr.backendTimeoutMs, hr.signOn, hr.connectorGroup, hr.users, hr.groups],
    ['hr', 85_000, { method: 'none' }, 'default', ['ben'], ['staff']],
  )
  const ben = await service.execute<{ enabled: boolean }>('user.show', { userName: 'ben' })
  assert.equal(ben.enabled, false)
  const staff = await service.execute<{ users: string[] }>('group.show', { name: 'staff' })
  assert.deepEqual(staff.users, ['ana'])
  await apply([{ kind: 'group', name: 'staff', members: {} }])
  assert.deepEqual(await service.execute('group.members', { name: 'staff' }), [])
})

test('access that a file takes away ends: whoever it concerns is told to everybody', async (t) => {
  const { service, apply } = await start(t)
  await apply(all)
  const ana = await service.execute<{ id: string }>('user.show', { userName: 'ana' })
  service.events.length = 0
  await apply([
    { kind: 'user', userName: 'ana', displayName: 'Ana', accountEnabled: false },
    { kind: 'group', name: 'staff', members: { groups: ['inner'] } },
    { kind: 'group', name: 'inner', members: {} },
  ])
  const kindsOf = service.events.filter((event) => 'userId' in event && event.userId === ana.id)
  assert.ok(kindsOf.some(({ kind }) => kind === 'user-epoch'))
  assert.ok(kindsOf.some(({ kind }) => kind === 'claims-changed'))
})

test('prune deletes what the objects do not have, of the kinds asked for, and says so before', async (t) => {
  const { service, plan, apply } = await start(t)
  await apply(all)
  await service.execute('user.create', { userName: 'eve' })
  await service.execute('connector-group.create', { name: 'old' })
  const some = all.filter(({ kind }) => kind === 'user' || kind === 'connectorGroup')
  const deleted = ({ changes }: Result) =>
    changes.filter(({ action }) => action === 'delete').map(({ kind, name }) => `${kind} ${name}`)
  assert.deepEqual(deleted(await plan(some)), [])
  assert.deepEqual(deleted(await plan(some, { prune: ['user'] })), ['user eve'])
  // The group `default` stays: commands take it when nobody says another.
  assert.deepEqual(deleted(await plan(some, { prune: kinds })), [
    'linkedApplication canteen',
    'linkedApplication payroll',
    'application hr',
    'application open',
    'group inner',
    'group staff',
    'user eve',
    'connectorGroup old',
  ])
  await apply(some, { prune: kinds })
  assert.equal(service.control.snapshot().applications.size, 0)
  assert.deepEqual((await plan(some, { prune: kinds })).changes, [])
})

test('what is in use, or the last way in, is not pruned', async (t) => {
  const { service, apply } = await start(t)
  await apply(all)
  await service.execute('user.set-password', { userName: 'ana', password: 'correct horse' })
  const ben = [{ kind: 'user', userName: 'ben' }]
  assert.deepEqual(await pathsOf(apply(ben, { prune: ['user'] })), ['users'])
  const disabled = [{ kind: 'user', userName: 'ana', displayName: 'Ana', accountEnabled: false }]
  assert.deepEqual(await pathsOf(apply(disabled)), ['users'])
  await service.execute('user.create', { userName: 'root', password: 'correct horse' })
  await apply(disabled)

  const app = { ...all[0], assignments: undefined }
  // The application needs its connector group, which the files do not have.
  const problems = await refusal(apply([app], { prune: ['connectorGroup'] }))
  assert.deepEqual(
    problems.problems.map(({ path }) => path),
    ['objects.0.connectorGroup'],
  )
  assert.match(problems.message, /put it into the files/)
  // And so do people whom it is assigned to.
  assert.deepEqual(await pathsOf(apply([all[0]], { prune: ['user', 'group', 'application'] })), [
    'objects.0.assignments.groups.0',
    'objects.0.assignments.users.0',
    'users',
  ])
})

test('every problem of every object is said at once, under the name that the file has for it', async (t) => {
  const { service, apply, plan } = await start(t)
  await apply(all)
  const snapshot = service.control.snapshot()
  const wrong = [
    { kind: 'user', userName: 'new' },
    { kind: 'user', userName: 'a b', password: 'secret secret' },
    { kind: 'group', name: 'self', members: { users: ['nobody'], groups: ['self', 'nowhere'] } },
    { kind: 'group', name: 'self' },
    {
      kind: 'application',
      name: 'first',
      externalUrl: 'http://first/',
      internalUrl: 'http://first/',
      externalAuthenticationType: 'identity',
      isHttpOnlyCookieEnabled: false,
      applicationServerTimeout: '90000s',
      colour: 'red',
      assignments: { users: ['nobody', 'new'] },
      connectorGroup: 'nowhere',
    },
    // Each for itself all right, but not together with what is there.
    { kind: 'application', name: 'second', externalUrl: url('hr'), internalUrl: 'http://x/' },
    {
      kind: 'application',
      name: 'third',
      externalUrl: url('third'),
      internalUrl: 'http://hr.internal/',
      externalAuthenticationType: 'passthru',
    },
    { kind: 'application', name: 'fourth', externalUrl: 'https://f.x/', internalUrl: 'http://y/' },
    { kind: 'role', name: 'x' },
    { name: 'y' },
    'text',
    null,
    [],
  ]
  const expected = [
    'objects.1.password',
    'objects.1.userName',
    'objects.10',
    'objects.11',
    'objects.12',
    'objects.2.members.groups',
    'objects.2.members.groups.1',
    'objects.2.members.users.0',
    'objects.2.name',
    'objects.3.name',
    'objects.4.applicationServerTimeout',
    'objects.4.assignments.users.0',
    'objects.4.colour',
    'objects.4.connectorGroup',
    'objects.4.externalAuthenticationType',
    'objects.4.externalUrl',
    'objects.4.isHttpOnlyCookieEnabled',
    'objects.5.externalUrl',
    'objects.6.externalAuthenticationType',
    'objects.7.externalUrl',
    'objects.8.kind',
    'objects.9.kind',
  ]
  assert.deepEqual(await pathsOf(plan(wrong)), expected)
  const events = service.events.length
  const error = await refusal(apply(wrong))
  assert.equal(error.code, 'CONFIGURATION_INVALID')
  assert.deepEqual(error.problems.map(({ path }) => path).sort(), expected)
  assert.ok(!error.message.includes('secret'))
  // Nothing of it is there, not even what was right.
  assert.equal((await refusal(service.execute('user.show', { userName: 'new' }))).code, 'NOT_FOUND')
  assert.equal(service.control.snapshot(), snapshot)
  assert.equal(service.events.length, events)
})

test('a name that is the ID of something else is refused: commands would take it for that', async (t) => {
  const { service, apply, plan } = await start(t)
  await apply(all)
  const ana = await service.execute<{ id: string }>('user.show', { userName: 'ana' })
  const staff = await service.execute<{ id: string }>('group.show', { name: 'staff' })
  await service.execute('user.create', { userName: '00000000-0000-4000-8000-000000000000' })
  assert.deepEqual(
    await pathsOf(
      apply([
        { kind: 'user', userName: ana.id, displayName: 'Eve' },
        { kind: 'group', name: staff.id, members: { users: [ana.id], groups: [] } },
      ]),
    ),
    ['objects.0.userName', 'objects.1.members.users.0', 'objects.1.name'],
  )
  // One that only looks like an ID is a name like any other.
  const like = { kind: 'user', userName: '00000000-0000-4000-8000-000000000000' }
  assert.deepEqual((await plan([like])).changes, [])
})

test('a plan is known again: what changed since then is noticed, and what did not is carried out', async (t) => {
  const { service, plan, apply } = await start(t)
  const { id } = await plan(all)
  await service.execute('user.create', { userName: 'ana', displayName: 'Anna' })
  const error = await refusal(apply(all, { expect: id }))
  assert.deepEqual([error.code, error.problems[0]!.path], ['CONFLICT', 'expect'])
  assert.equal(service.control.snapshot().applications.size, 0)
  const again = await plan(all)
  assert.notEqual(again.id, id)
  // Something that has nothing to do with it.
  await service.execute('group.create', { name: 'other' })
  assert.equal((await apply(all, { expect: again.id })).id, again.id)
  assert.equal((await apply(all)).changes.length, 0)
})

test('of two that apply at once, both are carried out one after the other', async (t) => {
  const { apply, exported } = await start(t)
  const half = (name: string) => [
    { kind: 'group', name },
    { kind: 'user', userName: name },
    { kind: 'application', name, externalUrl: url(name), internalUrl: `http://${name}/` },
  ]
  const { id } = await apply([])
  const results = await Promise.allSettled([
    apply(half('a')),
    apply(half('b')),
    apply(half('a'), { expect: id }),
  ])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'fulfilled'],
  )
  assert.equal((await exported()).filter(({ kind }) => kind === 'application').length, 2)
})

test('too many changes for one transaction are refused before the first', async (t) => {
  const { service, apply } = await start(t)
  const objects = Array.from({ length: 5_001 }, (_, index) => ({
    kind: 'user',
    userName: `u${index}`,
  }))
  const error = await refusal(apply(objects))
  assert.deepEqual([error.code, error.problems[0]!.path], ['INPUT_INVALID', 'objects'])
  assert.deepEqual(await service.execute('user.list', {}), [])
})

test('more changes than others can wait for are refused, and made where nobody waits', async (t) => {
  const shared = await startTestControl(t)
  const many = Array.from({ length: 5_001 }, (_, index) => ({
    kind: 'connectorGroup',
    name: `branch-${index}`,
  }))
  await assert.rejects(tools(shared).apply(many), (error: ControlError) => {
    assert.equal(error.code, 'INPUT_INVALID')
    assert.match(error.message, /objects: need 5001 changes .* at most 5000 .* in parts/)
    return true
  })
  const names = async (service: TestControl) =>
    (await service.execute<unknown[]>('connector-group.list')).length
  assert.equal(await names(shared), 1)
  const alone = await shared.restart({ isAlone: true })
  assert.equal((await tools(alone).apply(many)).changes.length, 5_001)
  assert.equal(await names(alone), 5_002)
})

test('a link is changed field by field, and never becomes a published application', async (t) => {
  const { service, plan, apply } = await start(t)
  await apply(all)
  const links = () =>
    service.control.snapshot().links.map(({ application: { id: _, ...facts }, assigned }) => ({
      ...facts,
      assigned: assigned.size,
    }))
  const canteen = {
    name: 'canteen',
    displayName: 'canteen',
    linkedUrl: 'http://canteen.example/',
    assignmentRequired: false,
    visible: false,
    assigned: 0,
  }
  assert.deepEqual(links()[0], canteen)
  assert.equal(links()[1]!.assigned, 2)
  await service.execute('app.update', { name: 'canteen', set: { visible: true } })
  assert.deepEqual((await plan(all)).changes, [
    {
      action: 'update',
      kind: 'linkedApplication',
      name: 'canteen',
      fields: [{ field: 'visible', before: true, after: false }],
    },
  ])
  await apply(all)
  assert.deepEqual(links()[0], canteen)
  for (const set of [
    { externalUrl: url('canteen') },
    { linkedUrl: 'javascript:alert(1)' },
    { linkedUrl: null },
  ])
    assert.equal(
      (await refusal(service.execute('app.update', { name: 'canteen', set }))).code,
      'INPUT_INVALID',
    )
  assert.equal(
    (
      await refusal(
        service.execute('app.update', { name: 'hr', set: { linkedUrl: 'https://x.example/' } }),
      )
    ).code,
    'INPUT_INVALID',
  )
  assert.equal(
    (await refusal(service.execute('app.certificate.list', { name: 'canteen' }))).code,
    'CONFLICT',
  )
  assert.equal(
    (await refusal(service.execute('credential.list', { application: 'canteen' }))).code,
    'CONFLICT',
  )
})

test('one name is not both published and linked', async (t) => {
  const { service, apply } = await start(t)
  await apply(all)
  const link = { kind: 'linkedApplication', name: 'hr', linkedUrl: 'https://x.example/' }
  assert.deepEqual(await pathsOf(apply([link])), ['objects.0.name'])
  assert.deepEqual(
    await pathsOf(
      apply([
        { ...link, name: 'new' },
        { ...all[1], name: 'new', externalUrl: url('new') },
      ]),
    ),
    ['objects.1.name'],
  )
  const creation = { name: 'hr', linkedUrl: 'https://x.example/' }
  assert.equal((await refusal(service.execute('app.create-linked', creation))).code, 'CONFLICT')
})
