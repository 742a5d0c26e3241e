// `npm test [-- --long]`: everything that a change can break, from a fresh clone, in one command.
'use strict'

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const {
  findNode,
  installDebianPackages,
  installPackages,
  LONG_TEST_PACKAGES,
  launch,
  ROOT,
  runMain,
  TEST_PACKAGES,
} = require('./install.cjs')

const MINUTE_MS = 60_000
const bin = (name) => path.join(ROOT, 'node_modules', '.bin', name)
const long = process.argv.includes('--long')

// The limit is for one file: a test that hangs shall fail with its name, not by the CI's clock.
const STEPS = [
  { title: 'types', args: [bin('tsc'), '--noEmit'] },
  { title: 'format and lint', args: [bin('biome'), 'check', '.'] },
  {
    title: 'unit tests',
    folders: ['packages/*/test', 'testkit/test', 'examples/*/test', 'scripts/test'],
    ending: '.test.ts',
    limitMs: 3 * MINUTE_MS,
  },
  { title: 'end-to-end tests', folders: ['e2e'], ending: '.test.ts', limitMs: 6 * MINUTE_MS },
  {
    title: 'long tests',
    folders: ['packages', 'testkit', 'examples', 'scripts', 'e2e', 'bench'],
    ending: '.long.ts',
    limitMs: 120 * MINUTE_MS,
    // They measure memory and throughput: nothing else shall run beside.
    concurrency: 1,
    onlyLong: true,
  },
]

runMain(async () => {
  installPackages()
  installDebianPackages(long ? [...TEST_PACKAGES, ...LONG_TEST_PACKAGES] : TEST_PACKAGES)
  const node = findNode()
  const results = []
  for (const step of STEPS) {
    if (step.onlyLong && !long) continue
    console.log(`\n━━━ ${step.title} ${'━'.repeat(Math.max(3, 70 - step.title.length))}\n`)
    const startedAt = Date.now()
    const result = step.folders ? await runTests(node, step) : await runTool(node, step)
    results.push({ ...result, title: step.title, seconds: (Date.now() - startedAt) / 1000 })
    if (result.interrupted) break
  }
  return summarise(results)
})

async function runTool(node, step) {
  return verdict(await launch(node, step.args), [])
}

async function runTests(node, step) {
  const files = step.folders.flatMap(expandFolder).flatMap((folder) => find(folder, step.ending))
  if (files.length === 0) return { ok: false, note: 'no test files', failures: [] }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sallyport-test-'))
  const report = path.join(folder, 'totals')
  try {
    const args = [
      '--test',
      `--test-concurrency=${step.concurrency ?? 2}`,
      `--test-timeout=${step.limitMs}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${path.join(__dirname, 'totals.cjs')}`,
      `--test-reporter-destination=${report}`,
      ...files,
    ]
    // What takes long to set up is set up once for the whole step.
    const env = { SALLYPORT_TEST_CACHE: path.join(folder, 'cache') }
    const code = await launch(node, args, { env })
    const lines = fs.existsSync(report) ? fs.readFileSync(report, 'utf8').trim().split('\n') : []
    const records = lines.filter(Boolean).map((line) => JSON.parse(line))
    const counts = records.find((record) => record.counts)?.counts
    return verdict(
      code,
      records.filter((record) => record.failed),
      counts,
    )
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

function verdict(code, failures, counts) {
  const interrupted = code === 128 + os.constants.signals.SIGINT || code === 143
  if (counts === undefined) {
    return { ok: code === 0, note: code === 0 ? '' : `exit code ${code}`, failures, interrupted }
  }
  // A skipped test proves nothing, so it does not count as passed.
  const idle = counts.skipped + counts.todo
  return {
    ok: code === 0 && idle === 0 && failures.length === 0,
    note: `${counts.passed} passed, ${counts.failed + counts.cancelled} failed${idle > 0 ? `, ${idle} skipped` : ''}`,
    failures,
    interrupted,
  }
}

function summarise(results) {
  console.log(`\n━━━ summary ${'━'.repeat(63)}\n`)
  for (const { ok, title, note, seconds, failures } of results) {
    console.log(
      `${ok ? '✔ passed' : '✖ FAILED'}  ${title.padEnd(18)} ${seconds.toFixed(1).padStart(7)} s  ${note}`,
    )
    for (const { failed, file } of failures) {
      console.log(`            ${failed}${file ? `  (${path.relative(ROOT, file)})` : ''}`)
    }
  }
  const ok = results.every((result) => result.ok)
  console.log(`\n${ok ? 'All passed.' : 'Something failed.'}`)
  return ok ? 0 : 1
}

// A star stands for one whole segment.
function expandFolder(pattern) {
  const [before, after] = pattern.split('/*/')
  const folders =
    after === undefined
      ? [pattern]
      : fs.readdirSync(path.join(ROOT, before)).map((name) => path.join(before, name, after))
  return folders.filter((folder) => fs.existsSync(path.join(ROOT, folder)))
}

function find(folder, ending) {
  return fs
    .readdirSync(path.join(ROOT, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const file = path.join(folder, entry.name)
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : find(file, ending)
      return entry.name.endsWith(ending) ? [file] : []
    })
    .sort()
}
