import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { ControlError, callControlSocket, serveControlSocket } from '@sallyport/control'
import { audit } from '@sallyport/store'
import { makeDirectory, startTestControl } from './service.ts'

function send(
  socketPath: string,
  options: { method?: string; path: string; headers?: Record<string, string> },
  body: string,
): Promise<{ statusCode: number; code: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { socketPath, method: 'POST', headers: { 'content-type': 'application/json' }, ...options },
      async (response) => {
        let text = ''
        for await (const chunk of response) text += String(chunk)
        const { error } = JSON.parse(text) as { error: { code: string } }
        resolve({ statusCode: response.statusCode ?? 0, code: error.code })
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

test('a command over the socket does what it does inside, and is recorded with its actor', async (t) => {
  const { control, store, dataDir } = await startTestControl(t)
  const path = join(dataDir, 'control.sock')
  const socket = await serveControlSocket(control, path)
  t.after(() => socket.close())
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  const created = await callControlSocket(path, 'user.create', { userName: 'ana' }, 'cli:root')
  assert.ok(created.running)
  const listed = await callControlSocket(path, 'user.list', {}, 'cli:root')
  assert.deepEqual(listed, { running: true, result: await control.execute('user.list', {}, 'x') })
  const nothing = await callControlSocket(path, 'user.disable', { userName: 'ana' }, 'cli:root')
  assert.deepEqual(nothing, { running: true, result: null })
  assert.equal((await audit.listAudit(store.db)).at(0)?.actor, 'cli:root')
})

test('a refusal arrives with its code and every problem', async (t) => {
  const { control, dataDir } = await startTestControl(t)
  const path = join(dataDir, 'control.sock')
  const socket = await serveControlSocket(control, path)
  t.after(() => socket.close())
  const input = { userName: '', password: 'x' }
  const inside = await control
    .execute('user.create', input, 'x')
    .catch((error: unknown) => error as ControlError)
  const outside = await callControlSocket(path, 'user.create', input, 'x').catch((error) => error)
  assert.ok(outside instanceof ControlError && inside instanceof ControlError)
  assert.deepEqual(
    [outside.code, outside.message, outside.problems],
    [inside.code, inside.message, inside.problems],
  )
  assert.equal(outside.problems.length, 2)
})

test('what is no command call is refused', async (t) => {
  const { control, dataDir } = await startTestControl(t)
  const path = join(dataDir, 'control.sock')
  const socket = await serveControlSocket(control, path)
  t.after(() => socket.close())
  const good = JSON.stringify({ input: {}, actor: 'x' })
  const refused = { statusCode: 400, code: 'REQUEST_INVALID' }
  const command = '/v1/commands/status'
  assert.deepEqual(await send(path, { path: '/' }, good), refused)
  assert.deepEqual(await send(path, { path: command, method: 'PUT' }, good), refused)
  assert.deepEqual(await send(path, { path: command }, '{'), refused)
  assert.deepEqual(await send(path, { path: command }, '{"input":{}}'), refused)
  assert.deepEqual(await send(path, { path: command }, '{"actor":"a\\nb"}'), refused)
  assert.deepEqual(await send(path, { path: command, headers: {} }, good), refused)
  for (const name of ['no', '%', 'user%2Elist'])
    assert.equal((await send(path, { path: `/v1/commands/${name}` }, good)).code, 'COMMAND_UNKNOWN')
})

test('a failure of the service says so, and it goes on', async (t) => {
  const path = join(await makeDirectory(t), 'control.sock')
  let count = 0
  const socket = await serveControlSocket(
    {
      execute: async () => {
        count += 1
        if (count === 1) throw new TypeError('a mistake of ours')
        return 'fine'
      },
    },
    path,
  )
  t.after(() => socket.close())
  await assert.rejects(callControlSocket(path, 'x', {}, 'x'), { code: 'CONTROL_FAILED' })
  assert.deepEqual(await callControlSocket(path, 'x', {}, 'x'), { running: true, result: 'fine' })
})

test('without a service the caller learns that none runs', async (t) => {
  const directory = await makeDirectory(t)
  const path = join(directory, 'control.sock')
  assert.deepEqual(await callControlSocket(path, 'status', {}, 'x'), { running: false })
  const socket = await serveControlSocket({ execute: async () => 1 }, path)
  await socket.close()
  assert.deepEqual(await callControlSocket(path, 'status', {}, 'x'), { running: false })
})

test('the socket of a service that was killed is replaced, that of one that runs is not', async (t) => {
  const path = join(await makeDirectory(t), 'control.sock')
  const child = spawn(
    process.execPath,
    ['-e', `require('net').createServer().listen(process.argv[1], () => console.log('up'))`, path],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const exited = once(child, 'exit')
  await once(child.stdout, 'data')
  await assert.rejects(serveControlSocket({ execute: async () => 1 }, path), {
    code: 'SOCKET_UNUSABLE',
  })
  child.kill('SIGKILL')
  await exited
  assert.ok((await stat(path)).isSocket())
  const socket = await serveControlSocket({ execute: async () => 1 }, path)
  assert.deepEqual(await callControlSocket(path, 'x', {}, 'x'), { running: true, result: 1 })
  await socket.close()
})

test('what lies at the place of the socket and is none stays', async (t) => {
  const path = join(await makeDirectory(t), 'control.sock')
  await writeFile(path, 'precious')
  await assert.rejects(serveControlSocket({ execute: async () => 1 }, path), {
    code: 'SOCKET_UNUSABLE',
  })
  assert.equal((await stat(path)).size, 8)
  await assert.rejects(
    serveControlSocket({ execute: async () => 1 }, `/tmp/${'x'.repeat(120)}/control.sock`),
    { code: 'SOCKET_UNUSABLE', message: /at most 107 bytes/ },
  )
})
