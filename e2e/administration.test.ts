import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Child, parseServiceConfig, startService } from '@sallyport/cli'
import { domain, lastFirst, type Scope, type System, startSystem } from '@sallyport/testkit'
import { pino } from 'pino'

/** `sallyport ARGUMENTS`, with a configuration for the service of the system. */
function commandsOf(system: System, scope: Scope) {
  const config = `baseDomain: ${domain}\ndataDir: ${JSON.stringify(join(system.dir, 'service'))}\nlisten: { address: 127.0.0.1, port: ${system.port} }\nplainListen: { port: 0 }\n`
  const file = join(system.dir, 'sallyport.yaml')
  writeFileSync(file, config)
  const program = join(import.meta.dirname, '../packages/cli/src/sallyport.ts')
  return {
    config,
    async sallyport(args: readonly string[], input = '') {
      let text = ''
      const child = new Child({
        name: 'sallyport',
        command: process.execPath,
        args: [program, '-c', file, ...args],
        input,
        onLine: (line) => {
          text += `${line}\n`
        },
        onErrorText: (more) => {
          text += more
        },
      })
      scope.after(() => child.stop())
      await once(child.process, 'close')
      return { status: await child.exited, text }
    },
  }
}

const start = (t: TestContext) => startSystem(lastFirst(t), { applications: [{ name: 'hr' }] })

test('what files say answers within a second; files with a mistake leave everything as it was', async (t) => {
  const system = await start(t)
  const { sallyport } = commandsOf(system, t)
  const ana = await system.signIn('ana', 'hr')
  const files = (more: string) => `kind: application
name: wiki
externalUrl: ${system.url('wiki')}
internalUrl: ${system.origin('hr').url}
assignments: { users: [ana] }
---
kind: application
name: hr
externalUrl: ${system.url('hr')}
internalUrl: ${system.origin('hr').url}
assignments: { users: [ben] }
${more}`
  const bad = await sallyport(['apply', '-f', '-'], files('colour: red\n'))
  assert.equal(bad.status, 1)
  assert.match(bad.text, /standard input:12: colour: is not a known field/)
  assert.equal((await ana.get(system.url('hr'))).status, 200)
  assert.equal((await ana.get(system.url('wiki'))).status, 404)

  const version = () => system.service.control.snapshot().version
  const before = version()
  const good = await sallyport(['apply', '-f', '-'], files(''))
  assert.equal(good.status, 0, good.text)
  assert.equal(version(), before + 1, 'one new configuration, whatever is in it')
  assert.equal((await ana.open(system.url('wiki'))).status, 200)
  // Whom a file does not assign any more is out with the next request.
  assert.equal((await ana.get(system.url('hr'))).status, 403)

  const hr = {
    kind: 'application',
    name: 'hr',
    externalUrl: system.url('hr'),
    internalUrl: system.origin('hr').url,
    assignments: { users: ['ana'] },
  }
  const startedAt = performance.now()
  await system.execute('objects.apply', { objects: [hr] })
  assert.equal((await ana.get(system.url('hr'))).status, 200)
  const tookMs = performance.now() - startedAt
  assert.ok(tookMs < 1_000, `${tookMs} ms`)
})

test('a connector that is moved goes on with a download, and then serves the other group', async (t) => {
  const system = await start(t)
  await system.execute('connector-group.create', { name: 'branch' })
  const ana = await system.signIn('ana', 'hr')
  const answers: ServerResponse[] = []
  let began = () => {}
  const beginning = new Promise<void>((resolve) => {
    began = resolve
  })
  system.origin('hr').handler = (_, response) => {
    response.write('first ')
    answers.push(response)
    began()
  }
  const download = ana.get(system.url('hr', '/download'))
  await beginning
  await system.execute('connector.move', { connector: 'connector-1', connectorGroup: 'branch' })
  system.origin('hr').handler = (_, response) => void response.end('short')
  assert.equal((await ana.get(system.url('hr'))).status, 503, 'nobody serves the old group')
  answers[0]!.end('last')
  assert.equal((await download).body, 'first last')
  await system.execute('app.update', { name: 'hr', set: { connectorGroup: 'branch' } })
  assert.equal((await ana.get(system.url('hr'))).body, 'short')
})

test('a restored service has its people, applications and connectors back, and no session', async (t) => {
  const system = await start(t)
  const { sallyport, config } = commandsOf(system, t)
  const ana = await system.signIn('ana', 'hr')
  const backup = join(system.dir, 'backup.db')
  assert.equal((await sallyport(['backup', backup])).status, 0)
  // What comes after the backup is lost, but for this: a session of now must not open anything.
  const ben = await system.signIn('ben', 'hr')
  await system.execute('app.delete', { name: 'hr' })
  await system.execute('user.delete', { userName: 'ben' })
  assert.equal((await sallyport(['restore', backup])).status, 1, 'the service runs')
  await system.service.close()
  const restored = await sallyport(['restore', backup])
  assert.equal(restored.status, 0, restored.text)

  const service = await startService(parseServiceConfig(config), pino({ level: 'silent' }))
  t.after(() => service.close())
  // By itself, with the certificate that it had.
  while (!service.gateway.tunnels.pick('default'))
    await new Promise((resolve) => setImmediate(resolve))
  for (const client of [ana, ben]) {
    const answer = await client.get(system.url('hr'), {
      headers: { accept: 'application/json' },
    })
    assert.equal(answer.status, 401, 'its cookie is of before')
  }
  for (const name of ['ana', 'ben']) {
    const client = await system.signIn(name, 'hr')
    assert.equal((await client.get(system.url('hr'))).status, 200)
  }
})
