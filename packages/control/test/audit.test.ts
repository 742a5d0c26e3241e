import assert from 'node:assert/strict'
import { test } from 'node:test'
import { audit } from '@sallyport/store'
import { keepAuditShort } from '../src/retention.ts'
import { enrol, makeCsr, makeKeys, renew } from './connector.ts'
import { post, serveEnrolment, startTestControl } from './service.ts'

const dayMs = 86_400_000

test('a connector that is refused is recorded with reason and address, once a minute each', async (t) => {
  const service = await startTestControl(t)
  const { control } = service
  const port = await serveEnrolment(t, control)
  const enrolled = await enrol(service, port)
  await service.execute('connector.revoke', { connector: 'branch-1' })
  const csr = await makeCsr(await makeKeys())
  for (let count = 0; count < 3; count++) {
    await post(control, port, '/v1/enroll', { token: 'sp1.not.one', csr, name: 'x' })
    await renew(control, port, enrolled)
    await assert.rejects(
      control.authenticateConnector({ raw: enrolled.raw, clientAddress: '192.0.2.7' }),
    )
  }
  const events = await audit.listAudit(service.store.db, { kind: 'connector-refused' })
  assert.deepEqual(
    events.map(({ actor, subject, detail }) => [detail.reason, actor, subject]).reverse(),
    [
      ['TOKEN_INVALID', 'address:127.0.0.1', 'enrolment'],
      ['CONNECTOR_REVOKED', 'address:127.0.0.1', 'enrolment'],
      ['CONNECTOR_REVOKED', 'address:192.0.2.7', enrolled.connectorId],
    ],
  )
  service.advance(61_000)
  await post(control, port, '/v1/enroll', { token: 'sp1.not.one', csr, name: 'x' })
  const [last] = await audit.listAudit(service.store.db, { kind: 'connector-refused' })
  assert.equal(last!.detail.repeated, 2)
})

test('the audit log is asked about a person by name or ID, after their deletion too', async (t) => {
  const { execute } = await startTestControl(t)
  const { id } = await execute<{ id: string }>('user.create', { userName: 'ana' })
  await execute('user.create', { userName: 'ben' })
  await execute('group.create', { name: 'staff' })
  await execute('group.add-member', { group: 'staff', user: 'ana' })
  await execute('group.add-member', { group: 'staff', user: 'ben' })
  await execute('user.disable', { userName: 'ana' })
  const kindsOf = async (user: string) =>
    (await execute<{ kind: string }[]>('audit.list', { user })).map(({ kind }) => kind).reverse()
  const kinds = ['user-created', 'group-member-added', 'user-disabled']
  assert.deepEqual(await kindsOf('Ana'), kinds)
  assert.deepEqual(await kindsOf(id), kinds)
  await execute('user.delete', { userName: 'ana' })
  assert.deepEqual(await kindsOf('ana'), ['user-created', 'user-disabled', 'user-deleted'])
})

test('events are kept for the retention and a day at most', async (t) => {
  const { store, now } = await startTestControl(t)
  const { db } = store
  const nowAt = now()
  const record = (at: number) =>
    audit.recordAudit(db, { at, kind: 'old', actor: 'test', subject: String(at) })
  await record(nowAt - 7.5 * dayMs)
  assert.equal(await keepAuditShort(db, 7 * dayMs, nowAt), 0, 'not yet a whole day to remove')
  await record(nowAt - 8 * dayMs - 1)
  await record(nowAt - 7 * dayMs)
  assert.equal(await keepAuditShort(db, 7 * dayMs, nowAt), 2)
  assert.deepEqual(
    (await audit.listAudit(db)).map(({ kind }) => kind),
    ['audit-trimmed', 'old'],
  )
})
