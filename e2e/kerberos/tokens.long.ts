/** What sign-on by Kerberos costs: first tickets, tokens of a cached ticket, and memory over many of them. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { after, before, suite, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { GssapiEngine } from '@sallyport/connector'
import type { KerberosEngine } from '@sallyport/kerberos'
import { lastFirst } from '@sallyport/testkit'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { authorize, person, startEngine } from './support.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** What is still in use after all that is not has been given back. */
async function liveMb(): Promise<number> {
  for (let turn = 0; turn < 3; turn += 1) {
    collectGarbage()
    // Objects of node:crypto are given back one turn later.
    await setImmediate()
  }
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / 2 ** 20
}

const spn = 'HTTP/app.corp.example'

suite('what sign-on by Kerberos costs', () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  before(async () => {
    directory = await startCorpExample(scope)
  })

  const percentile = (values: number[], share: number) =>
    values.sort((a, b) => a - b)[Math.floor(values.length * share)]!.toFixed(1)

  async function measure(times: number, run: () => Promise<unknown>): Promise<number[]> {
    const took: number[] = []
    for (let turn = 0; turn < times; turn += 1) {
      const startedAt = performance.now()
      await run()
      took.push(performance.now() - startedAt)
    }
    return took
  }

  const alice = (engine: KerberosEngine) => authorize(engine, person('alice'), spn)

  test('first tickets', async (t) => {
    const keytab = await directory.keytab('svc-connector')
    const cold = await measure(50, async () => {
      const engine = await startEngine(directory, 'svc-connector', { keytab })
      await alice(engine)
      engine.close()
    })
    const engine = await startEngine(directory, 'svc-connector', { keytab })
    t.after(() => engine.close())
    const warm = await measure(50, async () => {
      engine.forgetUser(person('alice'))
      await alice(engine)
    })
    t.diagnostic(`cold: p50 ${percentile(cold, 0.5)} ms, p95 ${percentile(cold, 0.95)} ms`)
    t.diagnostic(`new user: p50 ${percentile(warm, 0.5)} ms, p95 ${percentile(warm, 0.95)} ms`)
    assert.ok(Number(percentile(cold, 0.5)) < 500)
  })

  test('50,000 tokens of a cached ticket: under 1 ms of CPU each, and memory stays flat', async (t) => {
    const engine = await startEngine(directory, 'svc-connector')
    t.after(() => engine.close())
    const make = async (count: number) => {
      for (let turn = 0; turn < count; turn += 1) {
        await alice(engine)
        // Finalizers of native objects need turns of the event loop.
        if (turn % 100 === 0) await setImmediate()
      }
    }
    await make(20_000)
    const before = await liveMb()
    const cpu = process.cpuUsage()
    const startedAt = performance.now()
    await make(50_000)
    const seconds = (performance.now() - startedAt) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const grownMb = (await liveMb()) - before
    const cpuMs = (user + system) / 1000 / 50_000
    t.diagnostic(`${Math.round(50_000 / seconds)} tokens/s, ${cpuMs.toFixed(3)} ms of CPU each`)
    t.diagnostic(`live memory grew by ${grownMb.toFixed(2)} MB`)
    assert.ok(cpuMs < 1, `${cpuMs} ms`)
    assert.ok(grownMb < 1, `${grownMb} MB`)
  })

  test('20,000 tokens of the gssapi engine: its process stays as large as it was', async (t) => {
    const engine = new GssapiEngine({
      account: `svc-connector@${directory.realm}`,
      keytab: await directory.keytab('svc-connector'),
      realms: { [directory.realm]: [directory.kdc] },
    })
    t.after(() => engine.close())
    const make = async (count: number) => {
      for (let turn = 0; turn < count; turn += 1) {
        const { release } = await engine.authorize({ user: person('alice'), spn, format: 'spnego' })
        release!()
      }
    }
    const residentMb = () => {
      const status = readFileSync(`/proc/${engine.processId}/status`, 'utf8')
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) / 1024
    }
    await make(10_000)
    const before = residentMb()
    const startedAt = performance.now()
    await make(20_000)
    const ms = (performance.now() - startedAt) / 20_000
    const grownMb = residentMb() - before
    t.diagnostic(
      `${ms.toFixed(3)} ms each; ${before.toFixed(0)} MB, grown by ${grownMb.toFixed(1)}`,
    )
    assert.ok(grownMb < 10, `${grownMb} MB`)
  })
})
