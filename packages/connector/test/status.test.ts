import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { ConnectorError, readStatus } from '../src/index.ts'
import { statusSocketPath } from '../src/state.ts'
import { startHttpOrigin } from './origins.ts'
import { connected, enrolled, exchange, makeStateDir, run, startService } from './service.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'

test('the status is told through a socket that only its owner can open, and holds no secret', async (t) => {
  const origin = await startHttpOrigin(t, (_req, res) => res.end())
  const { session, stateDir, connector } = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
  })
  await exchange(session, { url: origin.url }, get)
  assert.equal(statSync(statusSocketPath(stateDir)).mode & 0o777, 0o600)
  const status = await readStatus(stateDir)
  assert.deepEqual(status, JSON.parse(JSON.stringify(connector.status())))
  assert.equal(status.connectorId, 'c1')
  assert.equal(status.tunnels[0]!.state, 'connected')
  assert.deepEqual(status.allow, [`127.0.0.1:${origin.port}`])
  assert.deepEqual(status.exchanges, { started: 1, active: 0, failed: 0, cancelled: 0, retried: 0 })
  const key = readFileSync(join(stateDir, 'connector.key'), 'utf8').split('\n')[1]!
  assert(!JSON.stringify(status).includes(key))
})

test('no connector, no status', async (t) => {
  const stateDir = makeStateDir(t)
  await assert.rejects(readStatus(stateDir), { code: 'NOT_RUNNING' })
})

test('two connectors do not run with one state directory, but a killed one is no obstacle', async (t) => {
  const service = await startService(t)
  const state = await enrolled(t, service)
  const { connector } = await run(t, service, { state })
  await assert.rejects(run(t, service, { state }), { code: 'STATE_IN_USE' })
  await connector.close()
  await assert.rejects(readStatus(state.stateDir), { code: 'NOT_RUNNING' })

  const child = await startChild(t, state.stateDir)
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert(readdirSync(state.stateDir).includes('status.sock'))
  await run(t, service, { state })
  assert.equal((await readStatus(state.stateDir)).connectorId, 'c1')
})

test('a state directory too deep for a Unix socket is named', async (t) => {
  const stateDir = join(makeStateDir(t), 'x'.repeat(100))
  await assert.rejects(
    async () => readStatus(stateDir),
    (error: unknown) => {
      assert(error instanceof ConnectorError)
      assert.equal(error.code, 'STATE_INVALID')
      return true
    },
  )
})

test('a connector process listens on no TCP or UDP socket, idle or busy, and SIGTERM ends it', async (t) => {
  const origin = await startHttpOrigin(t, (_req, res) => res.end('served'))
  const service = await startService(t)
  const state = await enrolled(t, service)
  const file = join(state.stateDir, 'connector.json')
  const settings = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...settings, allow: [`127.0.0.1:${origin.port}`] }))
  const child = await startChild(t, state.stateDir)
  const sessions = [await service.sessions.take(), await service.sessions.take()]
  for (const session of sessions) {
    assert.equal((await exchange(session, { url: origin.url }, get)).body, 'served')
    assert.deepEqual(listeningSockets(child.pid!), [])
  }
  // The check itself can see one: this process listens.
  assert(listeningSockets(process.pid).length > 0)
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [0, null])
  assert(!readdirSync(state.stateDir).includes('status.sock'))
})

async function startChild(t: TestContext, stateDir: string): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'connector-process.ts'), stateDir],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  t.after(() => child.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: child.stdout! }), 'line')
  assert.equal(line, 'started')
  return child
}

/**
 * Local addresses of the process's TCP sockets that listen, and of all its UDP sockets that are
 * bound.
 */
function listeningSockets(pid: number): string[] {
  const inodes = new Set<string>()
  for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
    let link = ''
    try {
      link = readlinkSync(`/proc/${pid}/fd/${descriptor}`)
    } catch {
      // Closed since it was listed.
    }
    const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1]
    if (inode) inodes.add(inode)
  }
  const found: string[] = []
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6'])
    for (const line of readFileSync(`/proc/${pid}/net/${table}`, 'utf8').split('\n').slice(1)) {
      const columns = line.trim().split(/\s+/)
      // 0A is LISTEN (include/net/tcp_states.h).
      const listens = table.startsWith('udp') || columns[3] === '0A'
      if (listens && inodes.has(columns[9] ?? '')) found.push(`${table} ${columns[1]}`)
    }
  return found
}
