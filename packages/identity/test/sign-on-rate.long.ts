import assert from 'node:assert/strict'
import test from 'node:test'
import { signIn, signOn, startFixture } from './fixture.ts'

const flows = 600

test('single sign-on: how many authorize requests with a live session, and codes redeemed, a core does in a second', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  await signIn(fixture, browser, fixture.hr, 'ana')
  for (let count = 0; count < 100; count += 1) await signOn(fixture, browser, fixture.wiki)
  const before = process.cpuUsage()
  const startedAt = performance.now()
  for (let count = 0; count < flows; count += 1) {
    // The limit for one address lets twenty a second through.
    fixture.time.nowAt += 100
    await signOn(fixture, browser, fixture.wiki)
  }
  const wallMs = performance.now() - startedAt
  const { user, system } = process.cpuUsage(before)
  const perCore = flows / ((user + system) / 1_000_000)
  // The test runner follows every promise, which costs a fifth: `node bench/src/sign-on.ts` measures the service alone.
  t.diagnostic(
    `${perCore.toFixed(0)} per second and core (the browser of the test and the database included), ${(flows / (wallMs / 1_000)).toFixed(0)} per second one after the other`,
  )
  assert.ok(perCore > 90, `${perCore} per second and core`)
})
