import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import {
  type Child,
  connectorOnline,
  controlOf,
  enrollConnectorProcess,
  spawnConnector,
  startServiceProcess,
} from '@sallyport/cli'
import { findFreePort, lastFirst, Origin, type Scope } from '@sallyport/testkit'

test('of two connectors under 500 requests a second one is killed: only its open streams fail', async (context) => {
  const t = lastFirst(context)
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-failover-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const port = await findFreePort()
  const configFile = join(dir, 'sallyport.yaml')
  writeFileSync(
    configFile,
    `baseDomain: sallyport.localhost\ndataDir: service\nlisten: { address: 127.0.0.1, port: ${port} }\nplainListen: { port: 0 }\nlogLevel: error\n`,
  )
  const { child: service, plainPort } = await startServiceProcess(configFile)
  t.after(() => service.stop())
  const execute = controlOf(join(dir, 'service'))
  const origin = await Origin.start()
  t.after(() => origin.close())
  origin.handler = (_, response) => void setImmediate(() => response.end('ok'))
  const connectors: Child[] = []
  for (const name of ['one', 'two']) {
    const stateDir = join(dir, name)
    await enrollConnectorProcess({
      execute,
      service: `https://connect.sallyport.localhost:${port}`,
      stateDir,
      name,
      args: ['--allow', `127.0.0.1:${origin.port}`],
    })
    const connector = spawnConnector(stateDir)
    t.after(() => connector.stop())
    await connectorOnline(stateDir, connector)
    connectors.push(connector)
  }
  await execute('app.create', {
    name: 'app',
    displayName: 'app',
    externalUrl: `https://app.sallyport.localhost:${port}/`,
    internalUrl: origin.url,
    preAuthentication: 'passthrough',
  })

  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  t.after(() => agent.destroy())
  const results: { startedAt: number; status: number; code: string }[] = []
  const once = () =>
    new Promise<void>((resolve) => {
      const startedAt = performance.now()
      const outgoing = request(
        {
          agent,
          host: '127.0.0.1',
          port: plainPort,
          headers: { host: `app.sallyport.localhost:${port}`, accept: 'application/json' },
        },
        (response) => {
          let text = ''
          response.on('data', (chunk: Buffer) => {
            text += chunk.toString()
          })
          response.on('end', () => {
            const status = response.statusCode!
            results.push({
              startedAt,
              status,
              code: status === 200 ? '' : JSON.parse(text).error.code,
            })
            resolve()
          })
        },
      )
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        results.push({ startedAt, status: 0, code: error.code ?? '' })
        resolve()
      })
      outgoing.end()
    })

  const begin = performance.now()
  const killAfterMs = 1_500
  const endAfterMs = 4_000
  let killedAt = Number.POSITIVE_INFINITY
  const pending: Promise<void>[] = []
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsed = performance.now() - begin
      // 500 a second, whatever the timer's resolution.
      while (pending.length < elapsed / 2) pending.push(once())
      if (elapsed > killAfterMs && killedAt === Number.POSITIVE_INFINITY) {
        connectors[0]!.process.kill('SIGKILL')
        killedAt = performance.now()
      }
      if (elapsed > endAfterMs) {
        clearInterval(timer)
        resolve()
      }
    }, 4)
  })
  await Promise.all(pending)

  const failed = results.filter(({ status }) => status !== 200)
  for (const { status, code } of failed) assert.deepEqual([status, code], [502, 'CONNECTOR_LOST'])
  assert.ok(results.length >= 1_800, `${results.length} requests`)
  assert.ok(failed.length <= 64, `${failed.length} failures`)
  const late = failed.filter(({ startedAt }) => startedAt > killedAt + 1_000)
  assert.deepEqual(late, [], 'none that began a second later failed')
})
