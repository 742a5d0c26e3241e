import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { makeProject, run } from './project.ts'

const PASSING = `import { test } from 'node:test'\ntest('holds', () => {})`
const NOISY = `import { test } from 'node:test'\ntest('takes hours', () => console.log('long ran'))`

/** A project in which every step passes, but for the files given. */
function project(t: TestContext, files: Record<string, string>): string {
  return makeProject(t, {
    'node_modules/.bin/tsc': '',
    'node_modules/.bin/biome': '',
    'node_modules/.package-lock.json': JSON.stringify({ packages: {} }),
    'packages/a/test/a.test.ts': PASSING,
    'examples/b/package.json': '{}',
    'e2e/b.test.ts': PASSING,
    'e2e/c.long.ts': NOISY,
    ...files,
  })
}

test('all steps pass: one summary, exit code 0, long tests left for --long', async (t) => {
  const { code, output } = await run(project(t, {}), 'test.cjs')
  assert.equal(code, 0, output)
  const summary = output.slice(output.indexOf('━━━ summary'))
  assert.deepEqual(summary.match(/✔ passed/g)?.length, 4)
  assert.match(summary, /All passed\./)
  assert.match(output, /ℹ tests 1/)
  assert.doesNotMatch(output, /long ran/)
})

test('--long runs the long tests, too', async (t) => {
  const { code, output } = await run(project(t, {}), 'test.cjs', '--long')
  assert.equal(code, 0, output)
  assert.match(output, /long ran/)
})

test('a failing test is named in the summary; the steps after it still run', async (t) => {
  const failing = `import { test } from 'node:test'
    test('outer', async (t) => {
      await t.test('inner breaks', () => { throw new Error('x') })
    })`
  const files = { 'packages/a/test/sub/z.test.ts': failing }
  const { code, output } = await run(project(t, files), 'test.cjs')
  assert.equal(code, 1)
  const summary = output.slice(output.indexOf('━━━ summary'))
  assert.match(summary, /✖ FAILED {2}unit tests .* 1 passed, 2 failed/)
  assert.match(summary, /^ +inner breaks {2}\(packages\/a\/test\/sub\/z\.test\.ts\)$/m)
  assert.doesNotMatch(summary, /outer/)
  assert.match(summary, /✔ passed {2}end-to-end tests/)
})

for (const [what, step] of [
  ['skipped', { 'e2e/b.test.ts': PASSING.replace("'holds',", "'holds', { skip: true },") }],
  ['left to do', { 'e2e/b.test.ts': PASSING.replace("'holds',", "'holds', { todo: true },") }],
  ['not there at all', { 'e2e/b.test.ts': '' }],
] as const) {
  test(`a test that is ${what} fails the run`, async (t) => {
    const { code, output } = await run(project(t, step), 'test.cjs')
    assert.equal(code, 1, output)
    assert.match(output, /✖ FAILED {2}end-to-end tests/)
  })
}

test('types and lint that fail, fail the run with their exit code', async (t) => {
  const files = {
    'node_modules/.bin/tsc': 'process.exitCode = 2',
    'node_modules/.bin/biome': 'process.exitCode = 1',
  }
  const { code, output } = await run(project(t, files), 'test.cjs')
  assert.equal(code, 1)
  assert.match(output, /✖ FAILED {2}types .* exit code 2/)
  assert.match(output, /✖ FAILED {2}format and lint .* exit code 1/)
})
