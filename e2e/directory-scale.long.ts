import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { verifyPassword } from '@sallyport/identity'
import {
  type Client,
  connectTls,
  navigation,
  password,
  type System,
  startSystem,
  submitSignIn,
} from '@sallyport/testkit'

const userCount = 100_000
const groupCount = 10_000
const limitMs = 2_000
const fanOut = 3

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

test('100,000 users in 10,000 nested groups: changes are felt in two seconds, sign-in is fast, the gateway holds nobody', async (t) => {
  const system = await startSystem(t, {
    applications: [{ name: 'app', assigned: [] }],
    users: ['ana'],
  })
  await measureMemory(system)
  const emptyBytes = heapBytes()
  const startedAt = performance.now()
  await fillDirectory(system)
  t.diagnostic(`directory filled in ${Math.round(performance.now() - startedAt)} ms`)
  await system.execute('app.assign', { name: 'app', group: 'group-0' })
  await measureMemory(system)
  const fullBytes = heapBytes()
  const grownMb = (fullBytes - emptyBytes) / 1_048_576
  t.diagnostic(`heap of the service: ${toMb(emptyBytes)} MB empty, ${toMb(fullBytes)} MB full`)
  assert.ok(grownMb < 8, `the heap grew by ${grownMb.toFixed(1)} MB`)

  // What is compiled once is no part of a sign-in.
  await measureSignIns(system, 50)
  const times = await measureSignIns(system, 400)
  const hashMs = await measureHash(system)
  const [p50, p99] = [quantile(times, 0.5) - hashMs, quantile(times, 0.99) - hashMs]
  t.diagnostic(
    `sign-in beside hashing (${hashMs.toFixed(0)} ms): p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
  )
  assert.ok(p99 < 100, `p99 of sign-in beside hashing is ${p99.toFixed(1)} ms`)

  // A leaf of the tree, eight groups deep, and a change at each depth above it.
  const leaf = groupCount - 1
  const above = ancestors(leaf)
  for (const child of above.slice(0, -1)) {
    const parent = Math.floor((child - 1) / fanOut)
    const membership = { group: `group-${parent}`, memberGroup: `group-${child}` }
    const client = await signIn(system, userOf(leaf))
    const stream = await openStream(system, client)
    const changedAt = performance.now()
    const change = system.execute('group.remove-member', membership)
    await stream.closed
    const feltMs = performance.now() - changedAt
    await change
    const doneMs = performance.now() - changedAt
    t.diagnostic(
      `group ${child}, ${above.length - 1 - above.indexOf(child)} below the top, leaves its parent: felt after ${feltMs.toFixed(0)} ms, command done after ${doneMs.toFixed(0)} ms`,
    )
    assert.ok(feltMs < limitMs, `felt after ${feltMs} ms`)
    assert.equal((await client.get(system.url('app'), { headers: navigation })).status, 403)
    await system.execute('group.add-member', membership)
    assert.equal((await client.get(system.url('app'), { headers: navigation })).status, 200)
  }
})

/** Names in the shape of a tree: the parent of group n is (n - 1) / 3. */
function ancestors(leaf: number): number[] {
  const found = [leaf]
  while (found[0]! > 0) found.unshift(Math.floor((found[0]! - 1) / fanOut))
  return found.reverse()
}

function userOf(group: number): string {
  return `user-${group}`
}

async function fillDirectory(system: System): Promise<void> {
  const { db } = system.service.store
  const { passwordHash } = await db
    .selectFrom('user')
    .select('passwordHash')
    .where('userName', '=', 'ana')
    .executeTakeFirstOrThrow()
  const indexes = (count: number) => Array.from({ length: count }, (_, index) => index)
  await db.transaction().execute(async (db) => {
    for (const part of chunks(indexes(userCount)))
      await db
        .insertInto('user')
        .values(
          part.map((index) => ({
            id: `u${index}`,
            userName: userOf(index),
            displayName: `User ${index}`,
            mail: `user-${index}@example.test`,
            passwordHash,
            enabled: 1,
            createdAt: 1,
            updatedAt: 1,
          })),
        )
        .execute()
    for (const part of chunks(indexes(groupCount)))
      await db
        .insertInto('group')
        .values(part.map((index) => ({ id: `g${index}`, name: `group-${index}`, createdAt: 1 })))
        .execute()
    // The first users are in one group each, which tells who is where; the others in three.
    const memberships = indexes(userCount).flatMap((index) =>
      index < groupCount
        ? [[index, index]]
        : [1, 7, 31].map((step) => [index, (index * step) % groupCount]),
    ) as [user: number, group: number][]
    for (const part of chunks(memberships))
      await db
        .insertInto('groupMember')
        .values(
          part.map(([user, group]) => ({
            groupId: `g${group}`,
            memberId: `u${user}`,
            memberKind: 'user' as const,
          })),
        )
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    for (const part of chunks(indexes(groupCount).slice(1)))
      await db
        .insertInto('groupMember')
        .values(
          part.map((index) => ({
            groupId: `g${Math.floor((index - 1) / fanOut)}`,
            memberId: `g${index}`,
            memberKind: 'group' as const,
          })),
        )
        .execute()
  })
}

function* chunks<T>(list: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < list.length; start += 1_000) yield list.slice(start, start + 1_000)
}

async function signIn(system: System, userName: string): Promise<Client> {
  const client = system.client()
  await system.signInWith(client, userName, 'app')
  return client
}

/** An answer without end. */
async function openStream(system: System, client: Client): Promise<{ closed: Promise<void> }> {
  const origin = system.origin('app')
  const left = new Promise<void>((resolve) => {
    origin.handler = (request, response) => {
      request.socket.once('close', () => resolve())
      response.on('error', () => undefined)
      response.write('begun\n')
    }
  })
  const host = system.host('app')
  const socket = await connectTls({ port: system.port, ca: system.ca, host })
  socket.on('error', () => socket.destroy())
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const begun = new Promise<void>((resolve) =>
    socket.on('data', (part: Buffer) => {
      if (part.includes('begun')) resolve()
    }),
  )
  socket.write(
    `GET / HTTP/1.1\r\nHost: ${host}:${system.port}\r\nCookie: ${client.cookieHeader(host)}\r\n\r\n`,
  )
  await begun
  origin.handler = undefined
  return { closed: Promise.all([ended, left]).then(() => undefined) }
}

/** From the password typed to the application's page, for people of every depth. */
async function measureSignIns(system: System, count: number): Promise<number[]> {
  const times: number[] = []
  for (let index = 0; index < count; index += 1) {
    const client = system.client()
    const page = await client.open(system.url('app'))
    const startedAt = performance.now()
    const answer = await submitSignIn(client, page, userOf((index * 61) % groupCount), password)
    times.push(performance.now() - startedAt)
    assert.equal(answer.status, 200)
    client.close()
  }
  return times
}

async function measureHash(system: System): Promise<number> {
  const { passwordHash } = await system.service.store.db
    .selectFrom('user')
    .select('passwordHash')
    .where('userName', '=', 'ana')
    .executeTakeFirstOrThrow()
  const times: number[] = []
  for (let count = 0; count < 20; count += 1) {
    const startedAt = performance.now()
    await verifyPassword(passwordHash!, password)
    times.push(performance.now() - startedAt)
  }
  return quantile(times, 0.5)
}

/** Requests of somebody who is signed in, so that everything is loaded that a gateway loads. */
async function measureMemory(system: System): Promise<void> {
  const client = await system.signIn('ana')
  for (let count = 0; count < 50; count += 1)
    assert.equal((await client.get(system.url('apps'))).status, 200)
}

function heapBytes(): number {
  for (let count = 0; count < 3; count += 1) collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

function toMb(bytes: number): string {
  return (bytes / 1_048_576).toFixed(1)
}

function quantile(times: readonly number[], share: number): number {
  return times.toSorted((a, b) => a - b)[
    Math.min(times.length - 1, Math.floor(times.length * share))
  ]!
}
