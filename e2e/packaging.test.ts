import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { nodeFlags, parseServiceConfig } from '@sallyport/cli'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** The unit, with the clone that the tests run in where it says /opt/sallyport. */
function unit(t: TestContext, name: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-unit-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const file = join(dir, `${name}.service`)
  const text = read(`packaging/systemd/${name}.service`)
  writeFileSync(file, text.replaceAll('/opt/sallyport/', `${root}/`))
  return file
}

const analyze = (...args: string[]) =>
  spawnSync('systemd-analyze', args, {
    encoding: 'utf8',
    env: { ...process.env, SYSTEMD_COLORS: '0' },
  })

// Of it 0.1 each: a child may tell systemd what the service does. There is no child but the one that is to.
for (const [name, limit] of [
  ['sallyport', 1.7],
  ['sallyport-connector', 1.5],
] as const) {
  test(`systemd finds nothing wrong with ${name}.service`, (t) => {
    const { status, stderr } = analyze('verify', '--man=no', '--recursive-errors=no', unit(t, name))
    assert.deepEqual([status, stderr], [0, ''])
  })

  test(`${name}.service is exposed to less than ${limit} of 10, as systemd counts it`, (t) => {
    const { status, stdout, stderr } = analyze(
      ...['security', '--offline=true', '--no-pager', `--threshold=${limit * 10}`, unit(t, name)],
    )
    assert.equal(status, 0, `${stdout.split('\n').slice(-3).join('\n')}${stderr}`)
  })
}

test('the programs run with the same flags of Node, however they are started', () => {
  for (const name of ['sallyport', 'sallyport-connector']) {
    assert.ok(
      read(`packaging/bin/${name}`).includes(` exec "$node" ${nodeFlags.join(' ')} "$root/`),
      `packaging/bin/${name}`,
    )
    const [firstLine] = read(`packages/cli/src/${name}.ts`).split('\n')
    assert.equal(firstLine, `#!/usr/bin/env -S node ${nodeFlags.join(' ')}`)
    assert.match(
      spawnSync(join(root, `packaging/bin/${name}`), ['--version']).stdout.toString(),
      /^\d/,
    )
  }
})

test('the configuration to begin with is one, and what it leaves commented out too', () => {
  const text = read('packaging/sallyport.yaml')
  assert.equal(parseServiceConfig(text).baseDomain, 'access.example.com')
  const all = text.replace(/^# ((?:certificates|metricsListen):| {2}- | {4})/gm, '$1')
  const { certificates, metricsListen } = parseServiceConfig(all)
  assert.equal(certificates.length, 1)
  assert.equal(metricsListen?.port, 9464)
})

test('what the Dockerfile copies is there, and lets nothing else in', () => {
  const ignore = read('packaging/docker/Dockerfile.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  assert.equal(ignore[0], '*')
  const wanted = ignore.filter((line) => line.startsWith('!')).map((line) => line.slice(1))
  const copied = [...read('packaging/docker/Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)]
    .flatMap(([, names]) => names!.split(' '))
    .sort()
  assert.deepEqual(copied, wanted.sort())
})
