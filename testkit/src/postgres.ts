import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setImmediate } from 'node:timers/promises'
import pg from 'pg'
import { findFreePort } from './ports.ts'
import type { Scope } from './scope.ts'

/** Where Debian keeps each version; its programs are not on the path. */
const versionsFolder = '/usr/lib/postgresql'

export interface PostgresSettings {
  /** As in postgresql.conf, beside those of the tests. */
  [name: string]: string
}

/** A database and its only user, for one test. */
export interface PostgresDatabase {
  kind: 'postgresql'
  host: string
  port: number
  database: string
  user: string
  password(): Promise<string>
  tls: false
}

/**
 * A PostgreSQL of the tests' own: a cluster in a temporary folder on a free port, run by the user `postgres` where
 * the tests are root, because it refuses root. It compares text by the rules of a language, as most do.
 */
export class Postgres {
  readonly dir: string
  readonly port: number
  readonly password = 'a password of tests'
  readonly #owner: string
  readonly #settings: PostgresSettings
  #process: ChildProcess | undefined
  #count = 0

  private constructor(dir: string, port: number, owner: string, settings: PostgresSettings) {
    this.dir = dir
    this.port = port
    this.#owner = owner
    this.#settings = settings
  }

  /** @param prepare runs before the server, such as to make files that it reads; gets the folder of its data */
  static async start(
    scope: Scope,
    settings: PostgresSettings = {},
    prepare: (data: string) => void = () => {},
  ): Promise<Postgres> {
    const { uid, username } = userInfo()
    const owner = uid === 0 ? 'postgres' : username
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-postgres-'))
    if (uid === 0) {
      const [owning, group] = ['-u', '-g'].map((of) =>
        Number(execFileSync('id', [of, owner], { encoding: 'utf8' })),
      )
      chownSync(dir, owning!, group!)
    }
    const postgres = new Postgres(dir, await findFreePort(), owner, settings)
    scope.after(async () => {
      await postgres.stop('SIGQUIT')
      rmSync(dir, { recursive: true })
    })
    postgres.#initialise()
    prepare(join(dir, 'data'))
    await postgres.run()
    return postgres
  }

  /** Folder of its Unix socket. */
  get socketDir(): string {
    return this.dir
  }

  /** Starts the server; it accepts connections when this resolves. */
  async run(): Promise<void> {
    const settings = {
      listen_addresses: '127.0.0.1',
      port: String(this.port),
      unix_socket_directories: this.dir,
      fsync: 'off',
      shared_buffers: '16MB',
      max_connections: '60',
      lc_messages: 'C',
      ...this.#settings,
    }
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const [command, ...before] = this.#asOwner('postgres')
    const child = spawn(command!, [...before, '-D', join(this.dir, 'data'), ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
    })
    this.#process = child
    let text = ''
    const ready = new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        text += `${line}\n`
        if (line.includes('ready to accept connections')) resolve()
      })
      child.once('exit', (code) => reject(new Error(`postgres ended with ${code}: ${text}`)))
    })
    await ready
  }

  /** `SIGTERM` waits for clients, `SIGINT` sends them away, `SIGQUIT` and `SIGKILL` are as a crash. */
  async stop(signal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    const workers = signal === 'SIGKILL' ? findChildren(child.pid!) : []
    child.kill(signal)
    // Those that serve clients would finish what they are doing.
    for (const pid of workers) killIfThere(pid)
    await exited
    while (workers.some(isRunning)) await setImmediate()
  }

  /** A new, empty database with an owner of its own. */
  async createDatabase(): Promise<PostgresDatabase> {
    this.#count += 1
    const name = `test_${this.#count}`
    await this.query(`CREATE ROLE ${name} LOGIN PASSWORD '${this.password}'`)
    await this.query(`CREATE DATABASE ${name} OWNER ${name}`)
    return this.at(name)
  }

  /** Runs a program that comes with the server, such as `pg_dump`, as the superuser. */
  tool(name: string, ...args: string[]): void {
    const server = ['--host', this.socketDir, '--port', String(this.port), '--username', 'postgres']
    execFileSync(findProgram(name), [...server, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  }

  /** How the owner of a database reaches it. */
  at(name: string): PostgresDatabase {
    return {
      kind: 'postgresql',
      host: '127.0.0.1',
      port: this.port,
      database: name,
      user: name,
      password: async () => this.password,
      tls: false,
    }
  }

  /** Runs a statement as the superuser. */
  async query<Row extends object>(text: string, database = 'postgres'): Promise<Row[]> {
    const client = new pg.Client({
      host: this.socketDir,
      port: this.port,
      user: 'postgres',
      database,
    })
    await client.connect()
    try {
      return (await client.query<Row>(text)).rows
    } finally {
      await client.end()
    }
  }

  #initialise(): void {
    const data = join(this.dir, 'data')
    const [command, ...before] = this.#asOwner('initdb')
    const locale = ['--locale-provider=icu', '--icu-locale=en-US', '--locale=C.UTF-8']
    execFileSync(
      command!,
      [...before, '-D', data, '-U', 'postgres', '-E', 'UTF8', '--no-sync', ...locale],
      { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' },
    )
    writeFileSync(
      join(data, 'pg_hba.conf'),
      'local all postgres trust\nlocal all all scram-sha-256\nhost all all all scram-sha-256\n',
    )
  }

  /** It ends with us, however we end: this is the last that is set before it begins. */
  #asOwner(program: string): string[] {
    const who =
      userInfo().uid === 0
        ? [`--reuid=${this.#owner}`, `--regid=${this.#owner}`, '--clear-groups']
        : []
    return ['setpriv', ...who, '--pdeathsig=QUIT', findProgram(program)]
  }
}

function findChildren(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** One that has ended may stay as a zombie, without memory and files. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Of the newest version that is installed. */
function findProgram(name: string): string {
  const versions = readdirSync(versionsFolder)
    .map(Number)
    .filter((version) => version >= 15)
    .sort((a, b) => b - a)
  if (versions.length === 0) throw new Error(`no PostgreSQL 15 or later in ${versionsFolder}`)
  return join(versionsFolder, String(versions[0]), 'bin', name)
}

/** The `database` of a sallyport.yaml; the password becomes a file of the folder. */
export async function toDatabaseYaml(database: PostgresDatabase, dir: string): Promise<string> {
  const { host, port, user, database: name } = database
  const passwordFile = join(dir, 'database-password')
  writeFileSync(passwordFile, `${await database.password()}\n`, { mode: 0o600 })
  const url = `postgresql://${user}@${host}:${port}/${name}`
  return `database: ${JSON.stringify({ kind: 'postgresql', url, passwordFile })}\n`
}
