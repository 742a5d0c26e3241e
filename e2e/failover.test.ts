import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import test from 'node:test'
import { lastFirst, Origin, startProcesses } from '@sallyport/testkit'

test('of two connectors under 500 requests a second one is killed: only its open streams fail', async (context) => {
  const t = lastFirst(context)
  const origin = await Origin.start()
  t.after(() => origin.close())
  origin.handler = (_, response) => void setImmediate(() => response.end('ok'))
  const { connectors, target } = await startProcesses(t, {
    originPort: origin.port,
    connectors: ['one', 'two'],
  })

  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  t.after(() => agent.destroy())
  const results: { startedAt: number; status: number; code: string }[] = []
  const once = () =>
    new Promise<void>((resolve) => {
      const startedAt = performance.now()
      const outgoing = request({ agent, ...target }, (response) => {
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
      })
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
