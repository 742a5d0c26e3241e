import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { ApplicationInput } from '@sallyport/domain'
import { app, hourMs, person, request, TestGateway } from './support/gateway.ts'

const host = 'hr.example.test'
const id = '00000000-0000-4000-8000-00000000ffff'
const hr = (name: string, more: Partial<ApplicationInput> = {}, principalIds?: string[]) =>
  app(
    'hr',
    {
      id,
      signOn: { method: 'headers', headers: [{ name, claim: 'displayName' }] },
      ...more,
    },
    principalIds,
  )

/** One connection on which a client sends the same bytes again and again, and an origin that always answers the same. */
function repeat(t: TestContext) {
  const system = new TestGateway(t, { applications: [hr('X-One')] })
  const connector = system.addConnector({}, (relayed) => {
    void relayed
      .until(() => relayed.ended)
      .then(() => relayed.answer(302, ['Location', 'http://hr.internal:8080/a', 'X', 'y']))
  })
  const ana = person('ana')
  const wire = system.connect()
  const text = request('/a', host, {
    Cookie: system.cookie(ana, host),
    'X-One': 'forged',
    'X-Two': 'forged too',
  })
  const once = async () => {
    wire.send(text)
    const answer = await wire.response()
    return { answer, relayed: connector.streams.at(-1)! }
  }
  return { system, connector, ana, once }
}

test('what repeats is relayed and answered alike', async (t) => {
  const { once } = repeat(t)
  const first = await once()
  assert.deepEqual(first.relayed.all('x-one'), ['ana'])
  assert.equal(first.answer.one('location'), `https://${host}/a`)
  for (let round = 0; round < 3; round += 1) {
    const again = await once()
    assert.deepEqual(again.relayed.head, first.relayed.head)
    assert.notEqual(again.relayed.id, first.relayed.id)
    assert.deepEqual(again.answer, {
      ...first.answer,
      all: again.answer.all,
      one: again.answer.one,
    })
  }
})

test('the configuration in force decides which of the same fields reach the origin, and how', async (t) => {
  const { system, once } = repeat(t)
  const before = await once()
  assert.deepEqual(before.relayed.all('x-two'), ['forged too'])
  system.snapshot = system.compile([hr('X-Two')])
  const after = await once()
  assert.deepEqual(after.relayed.all('x-two'), ['ana'])
  system.snapshot = system.compile([hr('X-Two', { hostHeader: 'external' })])
  assert.deepEqual((await once()).relayed.all('host'), [host])
  system.snapshot = system.compile([hr('X-Two', { internalUrl: 'http://other.internal/' })])
  const moved = await once()
  assert.deepEqual(moved.relayed.all('host'), ['other.internal'])
  assert.equal(moved.answer.one('location'), 'http://hr.internal:8080/a', 'of another origin now')
})

test('who the person is now is what the origin is told, whatever the same cookie said before', async (t) => {
  const { system, ana, once } = repeat(t)
  await once()
  ana.claims = { ...ana.claims, displayName: 'Ana Two' }
  system.gateway.apply({ kind: 'claims-changed', userId: 'ana', at: system.nowAt })
  assert.deepEqual((await once()).relayed.all('x-one'), ['Ana Two'])
})

for (const [what, end, statusCode] of [
  [
    'the session has ended',
    ({ system, ana }) =>
      system.gateway.apply({ kind: 'session-ended', sessionId: ana.sessionId, at: system.nowAt }),
    401,
  ],
  [
    'the cookie has expired',
    ({ system }) => {
      system.nowAt += hourMs
    },
    401,
  ],
  [
    'the assignment is gone',
    ({ system }) => {
      system.snapshot = system.compile([hr('X-One', { assignmentRequired: true }, ['nobody'])])
    },
    403,
  ],
] as [string, (parts: ReturnType<typeof repeat>) => void, number][]) {
  test(`the same bytes reach no origin any more once ${what}`, async (t) => {
    const parts = repeat(t)
    await parts.once()
    await parts.once()
    end(parts)
    const { answer } = await parts.once()
    assert.equal(answer.statusCode, statusCode)
    assert.equal(parts.connector.streams.length, 2)
  })
}
