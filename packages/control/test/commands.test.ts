import assert from 'node:assert/strict'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import type { ControlError } from '@sallyport/control'
import type { AccessEvent } from '@sallyport/domain'
import { audit, groups, oidcModel, sessions, users } from '@sallyport/store'
import { enrol } from './connector.ts'
import { serveEnrolment, startTestControl, type TestControl } from './service.ts'

const url = (name: string) => `https://${name}.sallyport.localhost:8443/`
const hr = { name: 'hr', externalUrl: url('hr'), internalUrl: 'http://hr.internal/' }

async function refusal(work: Promise<unknown>): Promise<ControlError> {
  try {
    await work
  } catch (error) {
    return error as ControlError
  }
  throw new Error('was not refused')
}

/** The events of one command, without their time. */
async function eventsOf(service: TestControl, name: string, input: unknown) {
  service.events.length = 0
  await service.execute(name, input)
  return service.events.map((event: Partial<AccessEvent>) => {
    const { at: _, ...rest } = event
    return rest
  })
}

test('every problem of an input is said at once, with its field', async (t) => {
  const { execute } = await startTestControl(t)
  const error = await refusal(
    execute('user.create', { userName: 'a b', mail: 'nobody', password: 'short', admin: true }),
  )
  assert.equal(error.code, 'INPUT_INVALID')
  assert.deepEqual(
    error.problems.map(({ path }) => path),
    ['userName', 'mail', 'password', 'admin'],
  )
  assert.match(error.problems[3]!.message, /userName, displayName, mail/)
  assert.ok(!JSON.stringify(error.problems).includes('short'))
})

test('a command that does not exist is refused, whatever it is called', async (t) => {
  const { execute } = await startTestControl(t)
  for (const name of ['', 'user', 'user.creat', 'toString', '__proto__', 'constructor'])
    assert.equal((await refusal(execute(name))).code, 'COMMAND_UNKNOWN')
})

test('no command takes what is no object', async (t) => {
  const service = await startTestControl(t)
  for (const name of service.control.commands.keys())
    for (const input of [1, 'x', [], true, { unknown: 1 }])
      assert.equal(
        (await refusal(service.execute(name, input))).code,
        'INPUT_INVALID',
        `${name} ${JSON.stringify(input)}`,
      )
})

test('a user is created, listed, shown, and taken once only', async (t) => {
  const { execute, auditKinds } = await startTestControl(t)
  const created = await execute<{ id: string }>('user.create', {
    userName: ' Ana ',
    displayName: 'Ana Lindqvist',
    mail: 'ana@example.com',
    password: 'correct horse',
  })
  const [listed] = await execute<Record<string, unknown>[]>('user.list')
  assert.equal(listed?.id, created.id)
  assert.equal(listed?.userName, 'ana')
  assert.equal(listed?.hasPassword, true)
  assert.ok(!JSON.stringify(listed).includes('hash of'))
  const again = await refusal(execute('user.create', { userName: 'ANA' }))
  assert.equal(again.code, 'CONFLICT')
  assert.equal(again.problems[0]?.path, 'userName')
  assert.deepEqual(await auditKinds(), ['user-created'])
})

test('the password of a user cannot be the name', async (t) => {
  const { execute } = await startTestControl(t)
  const error = await refusal(
    execute('user.create', { userName: 'anastasia', password: 'Anastasia' }),
  )
  assert.deepEqual(
    error.problems.map(({ path }) => path),
    ['password'],
  )
})

test('attack 43: disabling, a new password and deleting raise the epoch and say so', async (t) => {
  const service = await startTestControl(t)
  const { id } = await service.execute<{ id: string }>('user.create', { userName: 'ana' })
  const epoch = (signInEpoch: number) => ({ kind: 'user-epoch', userId: id, signInEpoch })
  assert.deepEqual(await eventsOf(service, 'user.disable', { userName: 'ana' }), [epoch(2)])
  assert.deepEqual(await eventsOf(service, 'user.enable', { userName: 'ana' }), [epoch(3)])
  assert.deepEqual(
    await eventsOf(service, 'user.set-password', { userName: id, password: 'correct horse' }),
    [epoch(4)],
  )
  assert.deepEqual(await eventsOf(service, 'user.update', { userName: 'ana', mail: null }), [
    { kind: 'claims-changed', userId: id },
  ])
  assert.deepEqual(await eventsOf(service, 'user.delete', { userName: 'ana' }), [
    epoch(5),
    { kind: 'configuration-changed' },
  ])
  assert.equal(
    (await refusal(service.execute('user.disable', { userName: 'ana' }))).code,
    'NOT_FOUND',
  )
  assert.deepEqual(await service.auditKinds(), [
    'user-created',
    'user-disabled',
    'user-enabled',
    'user-password-set',
    'user-updated',
    'user-deleted',
  ])
})

test('attack 43: a change of membership is told for everybody below, at any depth', async (t) => {
  const service = await startTestControl(t)
  const { execute } = service
  const ids: Record<string, string> = {}
  for (const userName of ['ana', 'ben'])
    ids[userName] = (await execute<{ id: string }>('user.create', { userName })).id
  for (const name of ['all', 'staff', 'branch']) await execute('group.create', { name })
  const changed = (...names: string[]) =>
    names.map((name) => ({ kind: 'claims-changed', userId: ids[name] }))
  assert.deepEqual(
    await eventsOf(service, 'group.add-member', { group: 'branch', user: 'ana' }),
    changed('ana'),
  )
  await execute('group.add-member', { group: 'staff', memberGroup: 'branch' })
  assert.deepEqual(
    await eventsOf(service, 'group.add-member', { group: 'all', memberGroup: 'staff' }),
    changed('ana'),
  )
  assert.deepEqual(await execute<{ groups: string[] }>('user.show', { userName: 'ana' }), {
    ...(await execute<object>('user.show', { userName: 'ana' })),
    groups: ['all', 'branch', 'staff'],
  })
  assert.deepEqual(
    await eventsOf(service, 'group.add-member', { group: 'branch', user: 'ana' }),
    [],
  )
  assert.deepEqual(
    await eventsOf(service, 'group.remove-member', { group: 'staff', memberGroup: 'branch' }),
    changed('ana'),
  )
  assert.deepEqual(await eventsOf(service, 'group.delete', { name: 'branch' }), [
    ...changed('ana'),
    { kind: 'configuration-changed' },
  ])
  const wrong: [unknown, string, string][] = [
    [{ group: 'staff' }, 'INPUT_INVALID', 'user'],
    [{ group: 'staff', user: 'ben', memberGroup: 'all' }, 'INPUT_INVALID', 'memberGroup'],
    [{ group: 'staff', memberGroup: 'staff' }, 'INPUT_INVALID', 'memberGroup'],
    [{ group: 'staff', user: 'nobody' }, 'NOT_FOUND', 'user'],
    [{ group: 'nothing', user: 'ben' }, 'NOT_FOUND', 'group'],
  ]
  for (const [input, code, path] of wrong) {
    const error = await refusal(execute('group.add-member', input))
    assert.equal(error.code, code)
    assert.equal(error.problems[0]?.path, path)
  }
  const absent = await refusal(execute('group.remove-member', { group: 'staff', user: 'ben' }))
  assert.equal(absent.code, 'NOT_FOUND')
})

test('groups that contain each other can be made, and one cannot take a name twice', async (t) => {
  const { execute, store } = await startTestControl(t)
  for (const name of ['a', 'b']) await execute('group.create', { name })
  await execute('group.add-member', { group: 'a', memberGroup: 'b' })
  await execute('group.add-member', { group: 'b', memberGroup: 'a' })
  const { id } = await execute<{ id: string }>('user.create', { userName: 'ana' })
  await execute('group.add-member', { group: 'a', user: 'ana' })
  assert.equal((await groups.transitiveGroups(store.db, id)).length, 2)
  assert.deepEqual(await execute('group.show', { name: 'a' }), {
    ...(await execute<object>('group.show', { name: 'a' })),
    users: ['ana'],
    groups: ['b'],
  })
  assert.equal((await refusal(execute('group.create', { name: 'a' }))).code, 'CONFLICT')
})

test('an ID names its owner, even if somebody is called like it', async (t) => {
  const { execute, store } = await startTestControl(t)
  const { id } = await execute<{ id: string }>('user.create', { userName: 'ana' })
  await execute('user.create', { userName: id })
  await execute('user.disable', { userName: id })
  assert.equal((await users.findUserByName(store.db, 'ana'))?.enabled, false)
  assert.equal((await users.findUserByName(store.db, id))?.enabled, true)
})

test('a published application is in the snapshot when its administrator is told so', async (t) => {
  const service = await startTestControl(t)
  const { control, execute } = service
  const seen: number[] = []
  control.onSnapshot(({ version }) => seen.push(version))
  const before = control.snapshot()
  assert.deepEqual(await eventsOf(service, 'app.create', hr), [{ kind: 'configuration-changed' }])
  const [compiled] = control.snapshot().applications.values()
  assert.equal(compiled?.application.name, 'hr')
  assert.equal(compiled?.application.displayName, 'hr')
  assert.equal(before.applications.size, 0)
  assert.ok(control.snapshot().version > before.version)
  await execute('user.create', { userName: 'ana' })
  assert.deepEqual(await eventsOf(service, 'app.assign', { name: 'hr', user: 'ana' }), [
    { kind: 'configuration-changed' },
  ])
  assert.deepEqual(await eventsOf(service, 'app.assign', { name: 'hr', user: 'ana' }), [])
  const assigned = () => [...control.snapshot().applications.values()][0]!.assigned.size
  assert.equal(assigned(), 1)
  await execute('app.unassign', { name: 'hr', user: 'ana' })
  assert.equal(assigned(), 0)
  assert.equal(
    (await refusal(execute('app.unassign', { name: 'hr', user: 'ana' }))).code,
    'NOT_FOUND',
  )
  await execute('app.delete', { name: 'hr' })
  assert.equal(control.snapshot().applications.size, 0)
  assert.deepEqual(seen, [1, 2, 3, 4])
})

test('a deleted user or group is assigned no longer', async (t) => {
  const { control, execute } = await startTestControl(t)
  await execute('app.create', hr)
  await execute('user.create', { userName: 'ana' })
  await execute('group.create', { name: 'staff' })
  await execute('app.assign', { name: 'hr', user: 'ana' })
  await execute('app.assign', { name: 'hr', group: 'staff' })
  const assigned = () => [...control.snapshot().applications.values()][0]!.assigned.size
  assert.equal(assigned(), 2)
  await execute('group.delete', { name: 'staff' })
  assert.equal(assigned(), 1)
  await execute('user.delete', { userName: 'ana' })
  assert.equal(assigned(), 0)
})

test('a bad change is refused with every problem, and nothing of it is stored or told', async (t) => {
  const service = await startTestControl(t)
  const { control, execute } = service
  await execute('app.create', hr)
  const before = control.snapshot()
  service.events.length = 0
  const error = await refusal(
    execute('app.create', {
      name: 'other',
      externalUrl: 'https://login.sallyport.localhost/',
      internalUrl: 'http://*.internal/',
      connectorGroup: 'nowhere',
    }),
  )
  assert.equal(error.code, 'CONFIGURATION_INVALID')
  assert.deepEqual(error.problems.map(({ path }) => path).sort(), [
    'connectorGroup',
    'externalUrl',
    'externalUrl',
    'internalUrl',
  ])
  const taken = await refusal(execute('app.create', { ...hr, name: 'hr-2' }))
  assert.match(taken.problems[0]!.message, /used by the application hr/)
  assert.equal((await refusal(execute('app.create', hr))).code, 'CONFLICT')
  assert.equal(control.snapshot(), before)
  assert.deepEqual(service.events, [])
  assert.equal((await execute<unknown[]>('app.list')).length, 1)
  assert.deepEqual(await service.auditKinds(), ['application-created'])
  const restarted = await service.restart()
  assert.equal(restarted.control.snapshot().applications.size, 1)
})

test('fields of an application are changed one by one, and null means the default', async (t) => {
  const { control, execute } = await startTestControl(t)
  const { id } = await execute<{ id: string }>('app.create', { ...hr, backendTimeoutMs: 1000 })
  await execute('app.update', {
    name: 'hr',
    set: { displayName: 'Human Resources', visible: false },
  })
  const application = () => control.snapshot().findApplicationById(id)!.application
  assert.equal(application().backendTimeoutMs, 1000)
  assert.equal(application().visible, false)
  await execute('app.update', { name: id, set: { backendTimeoutMs: null, name: 'people' } })
  assert.equal(application().backendTimeoutMs, 85_000)
  assert.equal(application().name, 'people')
  assert.equal((await refusal(execute('app.show', { name: 'hr' }))).code, 'NOT_FOUND')
  const wrong: [Record<string, unknown>, string][] = [
    [{ externalUrl: null }, 'externalUrl'],
    [{ externalURL: url('x') }, 'externalURL'],
    [{ id: '5d9a1c9e-7c1f-4ac5-9b0b-3f4a0a1b2c3d' }, 'id'],
    [{ signOn: { method: 'magic' } }, 'signOn.method'],
    [{ displayName: 'a\u0007b' }, 'displayName'],
    [{ connectorGroup: 'nowhere' }, 'connectorGroup'],
  ]
  for (const [set, path] of wrong) {
    const error = await refusal(execute('app.update', { name: 'people', set }))
    assert.deepEqual(
      error.problems.map((problem) => problem.path),
      [path],
    )
  }
})

test('a rename to a taken name is refused', async (t) => {
  const { execute } = await startTestControl(t)
  await execute('app.create', hr)
  await execute('app.create', { ...hr, name: 'crm', externalUrl: url('crm') })
  const error = await refusal(execute('app.update', { name: 'crm', set: { name: 'hr' } }))
  assert.equal(error.code, 'CONFLICT')
  assert.equal(error.problems[0]?.path, 'name')
})

test('simultaneous changes are all in the last snapshot', async (t) => {
  const { control, execute } = await startTestControl(t)
  await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      execute('app.create', { ...hr, name: `app-${index}`, externalUrl: url(`app-${index}`) }),
    ),
  )
  assert.equal(control.snapshot().applications.size, 20)
  assert.equal(control.snapshot().version, 20)
})

test('of two simultaneous applications for one host one is refused', async (t) => {
  const { control, execute } = await startTestControl(t)
  const outcomes = await Promise.allSettled([
    execute('app.create', { ...hr, name: 'a' }),
    execute('app.create', { ...hr, name: 'b' }),
  ])
  assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  assert.equal(control.snapshot().applications.size, 1)
})

test('a change made by somebody else is taken up when it is announced', async (t) => {
  const { control, store, execute } = await startTestControl(t)
  await execute('app.create', hr)
  await store.db.deleteFrom('application').execute()
  const swapped = new Promise((resolve) => control.onSnapshot(resolve))
  store.feed.publish({ kind: 'configuration-changed', at: 1 })
  await swapped
  assert.equal(control.snapshot().applications.size, 0)
})

test('what somebody else changed while the database could not be read is taken up when it can', async (t) => {
  const { control, store, execute, lines } = await startTestControl(t)
  await execute('app.create', hr)
  const [old] = control.cookieKeys(3_600_000)
  await store.db.deleteFrom('application').execute()
  await store.db
    .updateTable('secret')
    .set({ retiredAt: 1 })
    .where('retiredAt', 'is', null)
    .execute()
  for (const table of ['application', 'secret'])
    await store.db.schema.alterTable(table).renameTo(`${table}_away`).execute()
  store.feed.publish({ kind: 'configuration-changed', at: 1 })
  store.feed.publish({ kind: 'keys-changed', at: 1 })
  const said = () => lines.filter(({ level }) => level === 'error').length
  while (said() < 2) await new Promise(setImmediate)
  assert.equal(control.snapshot().applications.size, 1)
  await assert.rejects(control.reload(), 'whoever must know everything is told that it is not so')
  const swapped = new Promise((resolve) => control.onSnapshot(resolve))
  for (const table of ['application', 'secret'])
    await store.db.schema.alterTable(`${table}_away`).renameTo(table).execute()
  await swapped
  assert.equal(control.snapshot().applications.size, 0)
  // A key that was superseded long ago opens nothing more.
  while (control.cookieKeys(3_600_000).some(({ id }) => id === old!.id))
    await new Promise(setImmediate)
  assert.equal(said(), 2, 'each loss is said once')
})

test('a copy for a backup that nobody fetched is removed, and no folder of anybody else', async (t) => {
  const { execute, dataDir, advance } = await startTestControl(t)
  const forgotten = await execute<{ folder: string }>('backup.copy')
  const own = ['backup-2026-11', 'backup-abcdef', '.copy-for-backup-abcdef.old']
  for (const name of own) await mkdir(join(dataDir, name))
  await writeFile(join(dataDir, own[0]!, 'monday.db'), 'x')
  advance(3_600_000 + 60_000)
  const fresh = await execute<{ folder: string }>('backup.copy')
  const names = await readdir(dataDir)
  assert.ok(!names.includes(basename(forgotten.folder)))
  for (const name of [...own, basename(fresh.folder)]) assert.ok(names.includes(name), name)
})

test('a connector group in use is not deleted, and the reason names its users', async (t) => {
  const { execute } = await startTestControl(t)
  await execute('connector-group.create', { name: 'branch' })
  assert.equal(
    (await refusal(execute('connector-group.create', { name: 'branch' }))).code,
    'CONFLICT',
  )
  await execute('app.create', { ...hr, connectorGroup: 'branch' })
  const error = await refusal(execute('connector-group.delete', { name: 'branch' }))
  assert.match(error.message, /hr/)
  await execute('app.update', { name: 'hr', set: { connectorGroup: null } })
  await execute('token.create', { connectorGroup: 'branch' })
  await execute('connector-group.delete', { name: 'branch' })
  assert.deepEqual(
    (await execute<{ name: string }[]>('connector-group.list')).map(({ name }) => name),
    ['default'],
  )
})

test('a connector is shown and moved while it is in force, and its old group can go then', async (t) => {
  const service = await startTestControl(t)
  const { execute } = service
  const port = await serveEnrolment(t, service.control)
  const { connectorId } = await enrol(service, port, 'edge')
  await execute('connector-group.create', { name: 'branch' })
  assert.deepEqual(
    await eventsOf(service, 'connector.move', { connector: 'edge', connectorGroup: 'branch' }),
    [{ kind: 'connector-moved', connectorId, connectorGroup: 'branch' }],
  )
  const shown = await execute<Record<string, unknown>>('connector.show', { connector: connectorId })
  assert.deepEqual([shown.name, shown.connectorGroup, shown.status], ['edge', 'branch', 'offline'])
  // Where it is already: nothing to tell, nothing to write down.
  assert.deepEqual(
    await eventsOf(service, 'connector.move', { connector: 'edge', connectorGroup: 'branch' }),
    [],
  )
  for (const [input, path] of [
    [{ connector: 'edge', connectorGroup: 'nowhere' }, 'connectorGroup'],
    [{ connector: 'nobody', connectorGroup: 'default' }, 'connector'],
  ] as const) {
    const error = await refusal(execute('connector.move', input))
    assert.deepEqual([error.code, error.problems[0]!.path], ['NOT_FOUND', path])
  }
  assert.match(
    (await refusal(execute('connector-group.delete', { name: 'branch' }))).message,
    /move them to another group or revoke them/,
  )
  await execute('connector.move', { connector: 'edge', connectorGroup: 'default' })
  await execute('connector-group.delete', { name: 'branch' })
  await execute('connector.revoke', { connector: 'edge' })
  assert.equal((await refusal(execute('connector.show', { connector: 'edge' }))).code, 'CONFLICT')
  assert.equal((await service.auditKinds()).filter((kind) => kind === 'connector-moved').length, 2)
})

test('tokens are listed without what they are, and one that nobody has used is taken back', async (t) => {
  const service = await startTestControl(t)
  const { execute } = service
  const port = await serveEnrolment(t, service.control)
  const { connectorId } = await enrol(service, port)
  const { id, token } = await execute<{ id: string; token: string }>('token.create')
  await execute('token.create', { lifetimeMs: 60_000 })
  service.advance(60_000)
  const list = await execute<Record<string, unknown>[]>('token.list')
  assert.deepEqual(list.map(({ status }) => status).sort(), ['expired', 'good', 'used'])
  const used = list.find(({ status }) => status === 'used')!
  assert.equal(used.connectorId, connectorId)
  assert.ok(!JSON.stringify(list).includes(token.split('.')[1]!))
  await execute('token.delete', { id })
  for (const gone of [id, used.id, 'nothing'])
    assert.equal((await refusal(execute('token.delete', { id: gone }))).code, 'NOT_FOUND')
  assert.equal((await execute<unknown[]>('token.list')).length, 2)
})

test('a group that gets another name keeps members and assignments, and its members are told of', async (t) => {
  const service = await startTestControl(t)
  const { execute } = service
  const { id } = await execute<{ id: string }>('user.create', { userName: 'ana' })
  for (const name of ['staff', 'inner', 'other']) await execute('group.create', { name })
  await execute('group.add-member', { group: 'staff', memberGroup: 'inner' })
  await execute('group.add-member', { group: 'inner', user: 'ana' })
  await execute('app.create', hr)
  await execute('app.assign', { name: 'hr', group: 'staff' })
  // Applications are told the names of groups.
  assert.deepEqual(await eventsOf(service, 'group.update', { name: 'staff', newName: 'people' }), [
    { kind: 'claims-changed', userId: id },
  ])
  const app = await execute<{ groups: string[] }>('app.show', { name: 'hr' })
  assert.deepEqual(app.groups, ['people'])
  const direct = await execute<{ name: string }[]>('group.members', { name: 'people' })
  assert.deepEqual(
    direct.map(({ name }) => name),
    ['inner'],
  )
  assert.deepEqual(await execute('group.members', { name: 'people', transitive: true }), [
    { kind: 'user', name: 'ana', id },
  ])
  const error = await refusal(execute('group.update', { name: 'people', newName: 'other' }))
  assert.deepEqual([error.code, error.problems[0]!.path], ['CONFLICT', 'newName'])
})

test('a token lives from a minute to a day', async (t) => {
  const service = await startTestControl(t)
  const { expiresAt } = await service.execute<{ expiresAt: number }>('token.create', {
    lifetimeMs: 120_000,
  })
  assert.ok(Math.abs(expiresAt - service.now() - 120_000) < 10_000)
  for (const lifetimeMs of [0, -1, 59_999, 86_400_001, 60_000.5, 'long'])
    assert.equal(
      (await refusal(service.execute('token.create', { lifetimeMs }))).code,
      'INPUT_INVALID',
    )
  const error = await refusal(service.execute('token.create', { connectorGroup: 'nowhere' }))
  assert.equal(error.problems[0]?.path, 'connectorGroup')
})

test('a session ends once, with its grants, and everybody is told', async (t) => {
  const service = await startTestControl(t)
  const { execute, store } = service
  const { id } = await execute<{ id: string }>('user.create', { userName: 'ana' })
  await sessions.createSession(store.db, {
    id: 'session-1',
    userId: id,
    signInEpoch: 1,
    methods: ['pwd'],
    signedInAt: service.now(),
    absoluteExpiresAt: service.now() + 3_600_000,
    clientAddress: '10.0.0.1',
    userAgent: undefined,
  })
  const grant = { model: 'Grant', id: 'grant-1' }
  await oidcModel.saveOidcModel(store.db, grant, { accountId: id }, undefined)
  await oidcModel.saveOidcModel(
    store.db,
    { model: 'Session', id: 'secret' },
    { uid: 'session-1', authorizations: { client: { grantId: 'grant-1' } } },
    undefined,
  )
  const [listed] = await execute<Record<string, unknown>[]>('session.list', { user: 'ana' })
  assert.equal(listed?.id, 'session-1')
  assert.deepEqual(await eventsOf(service, 'session.end', { sessionId: 'session-1' }), [
    { kind: 'session-ended', sessionId: 'session-1' },
  ])
  assert.equal(await oidcModel.findOidcModel(store.db, grant), undefined)
  assert.deepEqual(await execute('session.list'), [])
  assert.equal(
    (await refusal(execute('session.end', { sessionId: 'session-1' }))).code,
    'NOT_FOUND',
  )
  assert.deepEqual(
    (await audit.listAudit(store.db, { subject: 'session-1' })).map(({ kind }) => kind),
    ['session-ended'],
  )
})

test('all sessions of a person end together, and nobody else is touched', async (t) => {
  const service = await startTestControl(t)
  const { execute, store } = service
  for (const userName of ['ana', 'ben']) {
    const { id } = await execute<{ id: string }>('user.create', { userName })
    for (const device of ['laptop', 'phone'])
      await sessions.createSession(store.db, {
        id: `${userName} ${device}`,
        userId: id,
        signInEpoch: 1,
        methods: ['pwd'],
        signedInAt: service.now(),
        absoluteExpiresAt: service.now() + 3_600_000,
        clientAddress: undefined,
        userAgent: undefined,
      })
  }
  const events = await eventsOf(service, 'session.end-all', { userName: 'ana' })
  assert.deepEqual(
    events.map((event) => [event.kind, 'signInEpoch' in event && event.signInEpoch]),
    [['user-epoch', 2]],
  )
  const listed = await execute<{ userName: string }[]>('session.list')
  assert.deepEqual(
    listed.map(({ userName }) => userName),
    ['ben', 'ben'],
  )
  assert.equal((await refusal(execute('session.end-all', { userName: 'eva' }))).code, 'NOT_FOUND')
})

test('the audit log is read page by page, newest first', async (t) => {
  const { execute } = await startTestControl(t)
  for (const name of ['a', 'b', 'c', 'd', 'e']) await execute('group.create', { name })
  const names: unknown[] = []
  let before: { at: number; id: string } | undefined
  for (;;) {
    const page = await execute<
      { at: number; id: string; actor: string; detail: { name: string } }[]
    >('audit.list', { limit: 2, before })
    if (page.length === 0) break
    for (const { detail, actor } of page) {
      names.push(detail.name)
      assert.equal(actor, 'test')
    }
    const { at, id } = page.at(-1)!
    before = { at, id }
  }
  assert.deepEqual(names.toSorted(), ['a', 'b', 'c', 'd', 'e'])
})

test('status counts what there is', async (t) => {
  const { execute, control } = await startTestControl(t, { countTunnels: () => 2 })
  await execute('user.create', { userName: 'ana' })
  await execute('app.create', hr)
  assert.deepEqual(await execute('status'), {
    tenantId: control.tenantId,
    baseDomain: 'sallyport.localhost',
    port: 8443,
    configurationVersion: 1,
    applications: 1,
    users: 1,
    groups: 0,
    connectors: { enrolled: 0, online: 0, revoked: 0 },
    sessions: 0,
  })
})
