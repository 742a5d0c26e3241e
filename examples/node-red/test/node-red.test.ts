import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { startNodeRed } from '../src/index.ts'

// A flow that answers GET /hello.
const FLOW = [
  { id: 'tab', type: 'tab', label: 'Greeting' },
  {
    ...{ id: 'in', type: 'http in', z: 'tab', url: '/hello', method: 'get' },
    ...{ x: 100, y: 100, wires: [['say']] },
  },
  {
    ...{ id: 'say', type: 'template', z: 'tab', field: 'payload', template: 'hello from a flow' },
    ...{ x: 250, y: 100, wires: [['out']] },
  },
  { id: 'out', type: 'http response', z: 'tab', x: 400, y: 100, wires: [] },
]

function userDir(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'node-red-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

async function start(t: TestContext, folder: string) {
  const nodeRed = await startNodeRed({ userDir: folder })
  t.after(() => nodeRed.close())
  return nodeRed
}

test('the editor answers on loopback, and asks nobody else for anything', async (t) => {
  const { url } = await start(t, userDir(t))
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
  assert.match(await (await fetch(`${url}/`)).text(), /<title>Node-RED<\/title>/)
  const settings = JSON.parse(await (await fetch(`${url}/settings`)).text())
  assert.deepEqual(settings.editorTheme.palette.catalogues, [])
  assert.equal(settings.externalModules.palette.allowInstall, false)
  assert.ok(!settings.telemetryEnabled)
})

test('a flow deployed while the editor listens is told on /comms, answers, and is kept', async (t) => {
  const folder = userDir(t)
  const nodeRed = await start(t, folder)
  const comms = new WebSocket(`${nodeRed.url.replace('http', 'ws')}/comms`)
  t.after(() => comms.close())
  await once(comms, 'open')
  // The deployment of the empty flows at the start is told as well, to whoever comes later.
  const revisions: string[] = []
  comms.addEventListener('message', ({ data }) => {
    for (const { topic, data: event } of [JSON.parse(data)].flat()) {
      if (topic === 'notification/runtime-deploy') revisions.push(event.revision)
    }
  })
  comms.send(JSON.stringify({ subscribe: 'notification/#' }))

  const answer = await fetch(`${nodeRed.url}/flows`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'node-red-api-version': 'v2' },
    body: JSON.stringify({ flows: FLOW }),
  })
  assert.equal(answer.status, 200)
  const { rev } = JSON.parse(await answer.text())
  while (!revisions.includes(rev)) await once(comms, 'message')
  assert.equal(await (await fetch(`${nodeRed.url}/hello`)).text(), 'hello from a flow')

  await nodeRed.close()
  const again = await start(t, folder)
  assert.equal(await (await fetch(`${again.url}/hello`)).text(), 'hello from a flow')
})

test('a port that is taken is said with the reason, and nothing keeps running', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  t.after(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  await assert.rejects(startNodeRed({ userDir: userDir(t), port }), /port in use/)
})

test('the program says where it is on one JSON line and ends with its child on SIGTERM', async (t) => {
  const main = join(import.meta.dirname, '../src/main.ts')
  const child = spawn(process.execPath, [main, '--user-dir', userDir(t)])
  t.after(() => child.kill('SIGKILL'))
  const [line] = await once(createInterface(child.stdout), 'line')
  const { url, pid } = JSON.parse(line)
  assert.equal((await fetch(`${url}/`)).status, 200)
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [0, null])
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
})
