import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Child, startServiceProcess } from '@sallyport/cli'

/** What both programs compile is kept, as under `npm start`: tests start many of them. */
process.env.NODE_COMPILE_CACHE ??= join(
  import.meta.dirname,
  '../../../../node_modules/.cache/sallyport',
)

export const source = join(import.meta.dirname, '../../src')

/** Closes what it started when the test ends; `t` of `node:test` fits. */
export interface Scope {
  after(close: () => Promise<void> | void): void
}

export interface Outcome {
  status: number | null
  stdout: string
  stderr: string
}

/** Runs a program of this package to its end, as an administrator would. */
export async function run(
  program: 'sallyport' | 'sallyport-connector',
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  let stdout = ''
  let stderr = ''
  const child = new Child({
    name: program,
    command: process.execPath,
    args: [join(source, `${program}.ts`), ...args],
    ...options,
    onLine: (line) => {
      stdout += `${line}\n`
    },
    onErrorText: (text) => {
      stderr += text
    },
  })
  await once(child.process, 'close')
  return { status: await child.exited, stdout, stderr }
}

/** A folder that is gone after the test. */
export function scratch(t: Scope): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-cli-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A port of 127.0.0.1 that somebody else listens on. */
export async function busyPort(t: Scope): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close())
  return (server.address() as { port: number }).port
}

export interface Installation {
  dir: string
  port: number
  configFile: string
  dataDir: string
  /** `https://connect.<domain>:<port>` */
  connect: string
  /** `sallyport --config FILE ...` */
  sallyport(args: readonly string[], input?: string): Promise<Outcome>
  /** `sallyport-connector --state-dir NAME ...` */
  connector(name: string, args: readonly string[], input?: string): Promise<Outcome>
  /** `sallyport serve`; is ended with the test. */
  serve(): Promise<Child>
  /** Ends a child with the test, before the folder goes. */
  keep(child: Child): Child
}

export const domain = 'sallyport.localhost'

/** @param more further lines of sallyport.yaml */
export async function install(t: Scope, more = ''): Promise<Installation> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-cli-'))
  const children: Child[] = []
  t.after(async () => {
    await Promise.all(children.map((child) => child.stop()))
    rmSync(dir, { recursive: true, force: true })
  })
  const port = await freePort()
  const configFile = join(dir, 'sallyport.yaml')
  writeFileSync(
    configFile,
    `baseDomain: ${domain}\ndataDir: data\nlisten: { address: 127.0.0.1, port: ${port} }\nlogLevel: warn\n${more}`,
  )
  return {
    dir,
    port,
    configFile,
    dataDir: join(dir, 'data'),
    connect: `https://connect.${domain}:${port}`,
    sallyport: (args, input) =>
      run('sallyport', ['--config', configFile, ...args], input === undefined ? {} : { input }),
    connector: (name, args, input) =>
      run(
        'sallyport-connector',
        ['--state-dir', join(dir, name), ...args],
        input === undefined ? {} : { input },
      ),
    serve: async () => {
      const { child } = await startServiceProcess(configFile, {}, (child) => children.push(child))
      return child
    },
    keep: (child) => {
      children.push(child)
      return child
    },
  }
}
