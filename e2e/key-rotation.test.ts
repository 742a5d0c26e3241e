import assert from 'node:assert/strict'
import test from 'node:test'
import { type Client, navigation, password, startSystem, submitSignIn } from '@sallyport/testkit'

test('keys of cookies are rotated under people who are signed in, and nobody notices', async (t) => {
  const system = await startSystem(t, { applications: [{ name: 'hr' }, { name: 'wiki' }] })
  const { gateway } = system.service
  const client = await system.signIn('ana', 'hr')
  const keyOf = (of: Client) =>
    [...of.cookies.get(system.host('hr'))!]
      .find(([name]) => !name.includes('signin'))![1]
      .split('.')[1]
  const first = keyOf(client)
  // A sign-in that began before the rotation ends after it.
  const other = system.client()
  const page = await other.open(system.url('hr'))
  const { id } = (await system.execute('key.rotate', {})) as { id: string }
  gateway.useKeys()
  assert.equal((await client.get(system.url('hr'))).status, 200)
  assert.equal((await client.open(system.url('wiki'))).status, 200, 'single sign-on goes on')
  assert.equal((await submitSignIn(other, page, 'ben', password)).status, 200)
  assert.notEqual(first, id)
  assert.equal(keyOf(other), id)
  // Past its half-life the cookie of the old key is sealed with the new one.
  const { clock } = gateway.options
  gateway.options.clock = () => Date.now() + 1_900_000
  // To the feed half an hour has passed without a proof.
  await gateway.start()
  assert.equal((await client.get(system.url('hr'))).status, 200)
  assert.equal(keyOf(client), id)
  gateway.options.clock = clock
  await gateway.start()

  await system.execute('key.rotate', { forgetOlder: true })
  gateway.useKeys()
  const refused = await client.get(system.url('hr'))
  assert.equal(refused.status, 401)
  assert.equal(system.records.at(-1)!.reason, 'session-invalid')
  assert.match((await client.open(system.url('hr'))).body, /type="password"/)
  const fresh = await system.signIn('ana', 'hr')
  assert.equal((await fresh.get(system.url('hr'), { headers: navigation })).status, 200)
})
