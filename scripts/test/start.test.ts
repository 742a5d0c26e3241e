import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { lock, makeProject, manifest, run, start } from './project.ts'

const STAMP = 'node_modules/.sallyport-install'
const ENTRY = 'packages/cli/src/start.ts'

test('a first start installs, a second does not, a changed lock does again', async (t) => {
  const project = makeProject(t, { [ENTRY]: `console.log('ran' as string)` })
  const first = await run(project, 'start.cjs')
  assert.match(first.output, /npm ci/)
  assert.match(first.output, /^ran$/m)
  const installedAt = statSync(join(project, STAMP)).mtimeMs

  assert.doesNotMatch((await run(project, 'start.cjs')).output, /npm ci/)
  assert.equal(statSync(join(project, STAMP)).mtimeMs, installedAt)

  writeFileSync(join(project, 'package.json'), manifest('1.0.1'))
  writeFileSync(join(project, 'package-lock.json'), lock('1.0.1'))
  rmSync(join(project, 'node_modules/.package-lock.json'), { force: true })
  assert.match((await run(project, 'start.cjs')).output, /npm ci/)
})

test('what a developer installed himself is not installed again', async (t) => {
  const project = makeProject(t, { [ENTRY]: '' })
  mkdirSync(join(project, 'node_modules'))
  writeFileSync(join(project, 'node_modules/.package-lock.json'), lock('1.0.0'))
  assert.doesNotMatch((await run(project, 'start.cjs')).output, /npm ci/)
  assert.ok(existsSync(join(project, STAMP)))
})

test('the pinned Node runs the program, also where npm forgot to link it', async (t) => {
  const pinned = `node_modules/node-${process.platform}-${process.arch}/bin/node`
  const project = makeProject(t, {
    [ENTRY]: `console.log(process.env.PINNED)`,
    'node_modules/.package-lock.json': lock('1.0.0'),
    [pinned]: `#!/bin/sh\nPINNED=yes exec ${process.execPath} "$@"\n`,
  })
  chmodSync(join(project, pinned), 0o755)
  assert.match((await run(project, 'start.cjs')).output, /^yes$/m)
})

test('an installation that fails is one line and exit code 1', async (t) => {
  const project = makeProject(t, { [ENTRY]: '' })
  writeFileSync(join(project, 'package-lock.json'), 'no lock at all')
  const { code, output } = await run(project, 'start.cjs')
  assert.equal(code, 1)
  assert.match(output, /^error: npm ci did not succeed/m)
  assert.ok(!existsSync(join(project, STAMP)))
})

test('start passes arguments on and keeps the exit code', async (t) => {
  const project = makeProject(t, {
    [ENTRY]: `console.log(JSON.stringify(process.argv.slice(2)))\nprocess.exitCode = 7`,
  })
  const { code, output } = await run(project, 'start.cjs', '--port', '8444', 'two words')
  assert.equal(code, 7)
  assert.match(output, /^\["--port","8444","two words"\]$/m)
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`start hands ${signal} on and waits until all is closed`, async (t) => {
    const project = makeProject(t, {
      [ENTRY]: `
        const alive = setInterval(() => {}, 1000)
        process.on('${signal}', () => {
          console.log('closing')
          clearInterval(alive)
        })
        console.log('ready')`,
    })
    const child = start(project, 'start.cjs')
    t.after(() => child.kill('SIGKILL'))
    const output = text(child.stdout!)
    await seen(child, 'ready')
    child.kill(signal)
    assert.deepEqual(await once(child, 'exit'), [0, null])
    assert.match(await output, /closing/)
  })
}

test('start tells by its exit code which signal ended the system', async (t) => {
  const project = makeProject(t, { [ENTRY]: `process.kill(process.pid, 'SIGKILL')` })
  assert.equal((await run(project, 'start.cjs')).code, 137)
})

function seen(child: ChildProcess, word: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout!.on('data', (chunk) => {
      if (String(chunk).includes(word)) resolve()
    })
    child.once('exit', (code) => reject(new Error(`exit code ${code} before ${word}`)))
  })
}
