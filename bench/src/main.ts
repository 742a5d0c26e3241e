// `npm run bench [-- --json FILE] [--quick] [--only revocation]`: Sallyport beside nginx + ssh -R, measured in one run,
// and how long access outlives its reason.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { installDebianPackages } from '../../scripts/install.cjs'
import { CASES, type Case } from './cases.ts'
import { type EndingResult, endingsToMarkdown, measureEndings, missedEndings } from './endings.ts'
import { type IdleMemory, measureIdleMemory } from './idle.ts'
import { measureLookup } from './lookup.ts'
import { measure } from './measure.ts'
import { startNginxSsh } from './nginx-ssh.ts'
import { type Origin, startOrigin } from './origin.ts'
import { readBusySeconds } from './processes.ts'
import { makeReport, type Result, type Round, toMarkdown, writeBetweenMarkers } from './report.ts'
import { checkRevocation } from './revocation.ts'
import { startSallyport } from './sallyport.ts'
import type { Side } from './side.ts'
import { measureSignOns, type SignOnRate } from './sign-on.ts'

const README = join(import.meta.dirname, '../README.md')
const IDLE_SOCKETS = 10_000
// Gateway and connector hold one descriptor for each, and some of their own.
const FILES_NEEDED = IDLE_SOCKETS + 2000

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    // One short round, to see that everything works; bench/README.md stays as it is.
    quick: { type: 'boolean', default: false },
    // Compares with nobody: only how soon access ends.
    only: { type: 'string' },
  },
})
if (values.only !== undefined && values.only !== 'revocation')
  throw new Error(`--only ${values.only}: the only part that can be run alone is revocation`)
const settings = values.quick
  ? { pairs: 1, seconds: 1, warmSeconds: 1, idleSockets: 1000, endingRounds: 1 }
  : { pairs: 5, seconds: 6, warmSeconds: 3, idleSockets: IDLE_SOCKETS, endingRounds: 5 }

if (!(await raiseFileLimit())) process.exitCode = await main()

async function main(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-bench-'))
  try {
    if (values.only === 'revocation') {
      const endings = await measureEndings(folder, settings.endingRounds)
      await writeJson([], endings)
      return await reportEndings(endings)
    }
    installDebianPackages(['wrk', 'curl', 'openssh-server', 'nginx-light', 'openssl'])
    const origin = await startOrigin(folder)
    try {
      return await compare(origin, folder)
    } finally {
      await origin.close()
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function compare(origin: Origin, folder: string): Promise<number> {
  const peer = { originPort: origin.port }
  const starts = {
    sallyport: () => startSallyport({ folder: join(folder, 'sallyport'), originUrl: origin.url }),
    nginxSsh: () => startNginxSsh({ folder: join(folder, 'peer'), ...peer }),
    nginxSshNoDelay: () => startNginxSsh({ folder: join(folder, 'tuned'), ...peer, noDelay: true }),
  }
  const sides: Side[] = []
  try {
    const sallyport = await starts.sallyport()
    sides.push(sallyport)
    const nginxSsh = await starts.nginxSsh()
    sides.push(nginxSsh)
    const nginxSshNoDelay = await starts.nginxSshNoDelay()
    sides.push(nginxSshNoDelay)
    const otherWork = watchOtherWork()
    const rounds = await runRounds({ sallyport, nginxSsh, nginxSshNoDelay }, origin)
    const otherShare = otherWork()
    const revocation = await checkRevocation(sallyport, origin)
    const report = makeReport(rounds)
    const lookups = [1, 100, 10_000].map(measureLookup)
    for (const side of sides.splice(0)) await side.close()
    const signOns = await measureSignOns(folder)
    const idle = await measureIdle(folder)
    const endings = await measureEndings(folder, settings.endingRounds)
    await writeJson(report.results, endings, signOns)
    const text = toMarkdown(report, {
      pairs: settings.pairs,
      versions: versions(),
      otherShare,
      revocation,
      signOns,
      lookups,
      idle,
    })
    console.log(`\n${text}`)
    if (!values.quick) await writeBetweenMarkers(README, 'bench', text)
    const missed = await reportEndings(endings)
    return report.missed.length === 0 ? missed : 1
  } finally {
    for (const side of sides) await side.close()
  }
}

async function writeJson(
  results: Result[],
  revocation: EndingResult[],
  signOns?: SignOnRate,
): Promise<void> {
  if (values.json === undefined) return
  const json = JSON.stringify({ results, revocation, signOns }, undefined, 2)
  await writeFile(values.json, `${json}\n`)
}

/** @returns exit code */
async function reportEndings(endings: EndingResult[]): Promise<number> {
  const text = endingsToMarkdown(endings)
  console.log(`\n${text}`)
  if (!values.quick) await writeBetweenMarkers(README, 'revocation', text)
  return missedEndings(endings).length === 0 ? 0 : 1
}

/** Each round measures every system once; who comes first changes from round to round. */
async function runRounds(
  sides: Record<keyof Round, Side>,
  origin: Origin,
): Promise<Map<Case, Round[]>> {
  const names = Object.keys(sides) as (keyof Round)[]
  const rounds = new Map<Case, Round[]>()
  for (const run of CASES) {
    if (run.kind === 'load') {
      for (const name of names) await measure(sides[name], origin, run, settings.warmSeconds)
    }
    const list: Round[] = []
    for (let pair = 0; pair < settings.pairs; pair += 1) {
      const round: Partial<Round> = {}
      for (let turn = 0; turn < names.length; turn += 1) {
        const name = names[(turn + pair) % names.length]!
        round[name] = await measure(sides[name], origin, run, settings.seconds)
      }
      list.push(round as Round)
      const { sallyport, nginxSsh } = round as Round
      console.log(
        `${run.name.padEnd(20)} ${pair + 1}/${settings.pairs}  ` +
          [sallyport, nginxSsh, (round as Round).nginxSshNoDelay]
            .map(
              (one) =>
                `${one.rps.toFixed(run.kind === 'load' ? 0 : 2)}/s ${one.cpuMicros.toFixed(0)} µs`,
            )
            .join('  |  '),
      )
    }
    rounds.set(run, list)
  }
  return rounds
}

/**
 * Ratios are fair only on a machine that does nothing else, and it is easily forgotten what runs.
 *
 * @returns tells which share of the processors, 0 to 1, others have had since
 */
function watchOtherWork(): () => number {
  const startedAt = performance.now()
  const before = readBusySeconds()
  return () => {
    const now = readBusySeconds()
    const others = now.machine - before.machine - (now.ours - before.ours)
    return Math.max(0, others) / ((performance.now() - startedAt) / 1000) / cpus().length
  }
}

async function measureIdle(folder: string): Promise<IdleMemory | string> {
  const limit = await readFileLimit()
  if (limit < settings.idleSockets + 2000) {
    return `this account may open ${limit} files (ulimit -n), ${FILES_NEEDED} are needed`
  }
  return measureIdleMemory(folder, settings.idleSockets)
}

/**
 * Runs this program again with a higher limit for open files, where that is needed and allowed.
 *
 * @returns whether it did; then there is nothing left to do
 */
async function raiseFileLimit(): Promise<boolean> {
  if ((await readFileLimit()) >= FILES_NEEDED || process.env.BENCH_LIMIT_RAISED) return false
  const script = `ulimit -n ${2 * FILES_NEEDED} 2>/dev/null; exec "$@"`
  const again = spawnSync('sh', ['-c', script, 'sh', process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, BENCH_LIMIT_RAISED: '1' },
  })
  process.exitCode = again.status ?? 1
  return true
}

async function readFileLimit(): Promise<number> {
  const limits = await readFile('/proc/self/limits', 'utf8')
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
}

function versions(): string {
  const say = (command: string, args: string[], pattern: RegExp) => {
    const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
    return pattern.exec(stdout + stderr)?.[1] ?? 'unknown'
  }
  const kernel = execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim()
  return [
    `Node ${process.versions.node}`,
    `nginx ${say('nginx', ['-v'], /nginx\/(\S+)/)}`,
    `OpenSSH ${say('ssh', ['-V'], /OpenSSH_(\S+?),?\s/)}`,
    `Linux ${kernel}`,
  ].join(', ')
}
