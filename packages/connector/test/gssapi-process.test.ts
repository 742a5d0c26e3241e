import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { promisify } from 'node:util'

const source = new URL('../src/sign-on/gssapi/process.ts', import.meta.url)

/** Starts the process when only so many descriptors are left, and says what became of it. */
const program = `
import { closeSync, openSync } from 'node:fs'
import { GssapiProcess } from ${JSON.stringify(source)}
const held = []
try {
  for (;;) held.push(openSync('/dev/null'))
} catch {}
for (let left = Number(process.argv[1]); left > 0; left -= 1) closeSync(held.pop())
const options = { account: 'svc@CORP.EXAMPLE', keytab: '/nonexistent', configuration: '', timeoutMs: 1_000 }
let said
try {
  const child = new GssapiProcess(options)
  for (const fd of held) closeSync(fd)
  said = await child.ask({ do: 'account' }).catch((error) => error.name + ' ' + error.reason)
} catch (error) {
  said = error.code
}
console.log(said)
`

test('a process that cannot be started for want of descriptors is an answer, and neither ends the connector nor keeps anybody waiting', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  for (const [left, expected] of [
    [0, 'EMFILE'],
    [1, 'GssapiProcessError ended'],
    [4, 'GssapiProcessError ended'],
  ] as const) {
    const { stdout } = await promisify(execFile)(
      'sh',
      [
        '-c',
        'ulimit -n 64 && exec "$@"',
        'sh',
        process.execPath,
        '--input-type=module',
        '-e',
        program,
        String(left),
      ],
      { env: { ...process.env, TMPDIR: dir } },
    )
    assert.equal(stdout.trim(), expected, `${left} left`)
    assert.deepEqual(readdirSync(dir), [], 'nothing stays behind')
  }
})

test('no file is left for others to find or to take away, also while it runs', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const starting = `
import { readdirSync } from 'node:fs'
import { GssapiProcess } from ${JSON.stringify(source)}
const child = new GssapiProcess({ account: 'svc@CORP.EXAMPLE', keytab: '/nonexistent', configuration: '', timeoutMs: 1_000 })
console.log(JSON.stringify(readdirSync(process.env.TMPDIR)))
child.close()
process.exit()
`
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', starting],
    { env: { ...process.env, TMPDIR: dir } },
  )
  assert.equal(stdout.trim(), '[]')
})
