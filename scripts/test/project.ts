// A small project of its own with our scripts in it, where npm ci costs nothing.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'

const SCRIPTS = join(import.meta.dirname, '..')

/** @returns its folder, which goes with the test */
export function makeProject(t: TestContext, files: Record<string, string>): string {
  const project = mkdtempSync(join(tmpdir(), 'sallyport-scripts-'))
  t.after(() => rmSync(project, { recursive: true }))
  const all = {
    'package.json': manifest('1.0.0'),
    'package-lock.json': lock('1.0.0'),
    ...files,
  }
  for (const [file, content] of Object.entries(all)) {
    mkdirSync(dirname(join(project, file)), { recursive: true })
    writeFileSync(join(project, file), content)
  }
  mkdirSync(join(project, 'scripts'), { recursive: true })
  for (const script of ['debian.cjs', 'install.cjs', 'start.cjs', 'test.cjs', 'totals.cjs']) {
    copyFileSync(join(SCRIPTS, script), join(project, 'scripts', script))
  }
  return project
}

// The version is only there to make two locks differ.
export function manifest(version: string): string {
  return JSON.stringify({ name: 'project', version, type: 'module' })
}

export function lock(version: string): string {
  const packages = { '': { name: 'project', version } }
  return JSON.stringify({ name: 'project', version, lockfileVersion: 3, requires: true, packages })
}

export function start(project: string, script: string, ...args: string[]): ChildProcess {
  // A test runner inside a test runner would report to the outer one.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  return spawn(process.execPath, [join(project, 'scripts', script), ...args], {
    cwd: project,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

export async function run(project: string, script: string, ...args: string[]) {
  const child = start(project, script, ...args)
  const [stdout, stderr] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    once(child, 'exit'),
  ])
  return { code: child.exitCode, output: stdout + stderr }
}
