import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { password, type System, startSystem, submitSignIn } from '@sallyport/testkit'

const sampleOf = (text: string, name: string) =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length + 1) ?? 0,
  )

const read = async ({ service }: System) =>
  (await fetch(`http://127.0.0.1:${service.metricsPort}/metrics`)).text()

test('what happens to requests, people and tunnels shows in the numbers', async (t) => {
  const system = await startSystem(t, {
    applications: [{ name: 'hr' }, { name: 'closed', assigned: ['ben'] }],
    config: 'metricsListen: { port: 0 }\n',
  })
  const client = system.client()
  const page = await client.open(system.url('hr'))
  await submitSignIn(client, page, 'ana', 'wrong')
  await submitSignIn(client, await client.open(system.url('hr')), 'ana', password)
  for (let count = 0; count < 5; count++)
    assert.equal((await client.fetch(system.url('hr', '/page'))).status, 200)
  assert.equal((await client.open(system.url('closed'))).status, 403)
  const text = await read(system)
  const allowed = sampleOf(text, 'sallyport_requests_total{decision="allow",status="2xx"}')
  assert.equal(
    allowed,
    system.records.filter(({ decision, statusCode }) => decision === 'allow' && statusCode === 200)
      .length,
  )
  assert.ok(allowed >= 6)
  assert.ok(sampleOf(text, 'sallyport_requests_total{decision="sign-in",status="3xx"}') >= 2)
  assert.equal(sampleOf(text, 'sallyport_denials_total{reason="user-not-assigned"}'), 1)
  assert.equal(sampleOf(text, 'sallyport_sign_ins_total{outcome="password-wrong"}'), 1)
  assert.equal(sampleOf(text, 'sallyport_sign_ins_total{outcome="succeeded"}'), 1)
  assert.equal(sampleOf(text, 'sallyport_tunnels{connector_group="default"}'), 2)
  for (const part of ['gateway', 'connector', 'origin'])
    assert.equal(
      sampleOf(text, `sallyport_request_duration_seconds_count{part="${part}"}`),
      system.records.filter(({ originMs }) => originMs !== undefined).length,
      part,
    )
  assert.ok(sampleOf(text, 'sallyport_client_connections') >= 3)
  const login = 'sallyport_system_requests_total{host="login",status='
  // The form twice, and once again after the wrong password.
  assert.ok(sampleOf(text, `${login}"2xx"}`) >= 2)
  assert.ok(sampleOf(text, `${login}"3xx"}`) >= 2)
  assert.equal(sampleOf(text, 'sallyport_system_requests_total{host="admin",status="4xx"}'), 0)
  assert.ok(sampleOf(text, 'sallyport_system_requests_total{host="connect",status="2xx"}') >= 1)
  assert.equal(
    sampleOf(text, 'sallyport_system_request_duration_seconds_count{host="login"}'),
    ['2xx', '3xx', '4xx'].reduce((sum, one) => sum + sampleOf(text, `${login}"${one}"}`), 0),
  )
  assert.doesNotMatch(text, /\bana\b|\/page/)

  await Promise.all(system.connectors.map((connector) => connector.close()))
  while (system.service.gateway.tunnels.pick('default')) await new Promise(setImmediate)
  assert.equal((await client.fetch(system.url('hr'))).status, 503)
  const later = await read(system)
  assert.equal(sampleOf(later, 'sallyport_tunnels{connector_group="default"}'), 0)
  assert.match(later, /^sallyport_tunnels\{connector_group="default"\} 0$/m)
  assert.equal(sampleOf(later, 'sallyport_failures_total{code="NO_CONNECTOR"}'), 1)
})

test('attack 59: no number is to be had unless it was asked for, nor from elsewhere', async (t) => {
  const system = await startSystem(t, { connectors: 0 })
  assert.equal(system.service.metricsPort, undefined)
  const client = system.client()
  for (const host of ['login', 'apps', 'admin'])
    assert.doesNotMatch((await client.fetch(system.url(host, '/metrics'))).body, /sallyport_/)
})

test('a scraper that never says anything does not keep the service up', async (t) => {
  const system = await startSystem(t, { connectors: 0, config: 'metricsListen: { port: 0 }\n' })
  const socket = connect(system.service.metricsPort!, '127.0.0.1')
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.on('error', () => socket.destroy())
  const startedAt = performance.now()
  await system.service.close()
  assert.ok(performance.now() - startedAt < 10_000)
  socket.destroy()
})
