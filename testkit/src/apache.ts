import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Scope } from './scope.ts'

/** Where Debian keeps the modules. */
const modules = '/usr/lib/apache2/modules'
const program = '/usr/sbin/apache2'

export interface ApacheSettings {
  /** Names without `mod_`, beside `mpm_event`, `authn_core` and `authz_core`. */
  modules: readonly string[]
  logLevel?: string
  /** What else its configuration says. */
  lines: string
}

/** Debian's Apache in a folder of its own. It knows nothing of the machine's configuration. */
export class Apache {
  readonly dir: string
  readonly #environment: Record<string, string>
  readonly #hosts: readonly string[]
  #process: ChildProcess | undefined

  private constructor(dir: string, environment: Record<string, string>, hosts: readonly string[]) {
    this.dir = dir
    this.#environment = environment
    this.#hosts = hosts
  }

  /**
   * One that is not configured and does not run yet; it ends with the scope, and its folder with it.
   *
   * @param toEnvironment what its environment has beside ours, by the folder
   * @param hosts names that it finds at 127.0.0.1, beside those that every process does; needs root
   */
  static create(
    scope: Scope,
    name: string,
    toEnvironment: (dir: string) => Record<string, string> = () => ({}),
    hosts: readonly string[] = [],
  ): Apache {
    const dir = mkdtempSync(join(tmpdir(), `sallyport-${name}-`))
    // Its workers are another user.
    chmodSync(dir, 0o755)
    const apache = new Apache(dir, toEnvironment(dir), hosts)
    scope.after(async () => {
      await apache.stop()
      rmSync(dir, { recursive: true })
    })
    return apache
  }

  configure({ modules: names, logLevel = 'notice', lines }: ApacheSettings): void {
    const load = ['mpm_event', 'authn_core', 'authz_core', ...names]
      .map((name) => `LoadModule ${name}_module ${modules}/mod_${name}.so`)
      .join('\n')
    writeFileSync(
      join(this.dir, 'httpd.conf'),
      `ServerRoot ${this.dir}
PidFile ${this.dir}/pid
DefaultRuntimeDir ${this.dir}
Mutex pthread default
ErrorLog ${this.dir}/error.log
LogLevel ${logLevel}
${load}
TypesConfig /dev/null
User www-data
Group www-data
StartServers 1
ServerLimit 2
ThreadsPerChild 16
MinSpareThreads 4
MaxSpareThreads 32
MaxRequestWorkers 32
${lines}
`,
    )
  }

  /** It answers when this resolves. */
  async run(): Promise<void> {
    const saidBefore = this.log.length
    const child = spawn('setpriv', ['--pdeathsig=TERM', ...this.#toCommand()], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...this.#environment },
    })
    let complaints = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaints += text
    })
    this.#process = child
    // Written once it listens.
    while (!this.log.includes('resuming normal operations', saidBefore)) {
      if (child.exitCode !== null)
        throw new Error(`apache2 ended with ${child.exitCode}: ${complaints}${this.log}`)
      await setTimeout(20)
    }
  }

  #toCommand(): string[] {
    const apache = [program, '-f', join(this.dir, 'httpd.conf'), '-D', 'FOREGROUND']
    if (this.#hosts.length === 0) return apache
    const hosts = join(this.dir, 'hosts')
    writeFileSync(hosts, `127.0.0.1 localhost ${this.#hosts.join(' ')}\n`)
    // Over the file that everybody else still sees.
    const script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ['unshare', '--mount', 'sh', '-c', script, hosts, ...apache]
  }

  /** What Apache and its modules have said. */
  get log(): string {
    try {
      return readFileSync(join(this.dir, 'error.log'), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
      throw error
    }
  }

  async stop(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    await exited
  }
}

/** Gives a file to the user that Apache's workers run as. */
export function chownToWorkers(path: string): void {
  const [uid, gid] = ['-u', '-g'].map((of) =>
    Number(execFileSync('id', [of, 'www-data'], { encoding: 'utf8' })),
  )
  chownSync(path, uid!, gid!)
}
