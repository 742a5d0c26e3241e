import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Scope } from './scope.ts'

const modules = '/usr/lib/apache2/modules'
const program = '/usr/sbin/apache2'

/** Debian's Apache with a configuration of its own, in a folder of its own. */
export class Apache {
  readonly dir: string
  readonly #hosts: readonly string[]
  #process: ChildProcess | undefined

  /** @param hosts names that it finds at 127.0.0.1, beside those that every process does; needs root */
  constructor(scope: Scope, label: string, hosts: readonly string[] = []) {
    this.dir = mkdtempSync(join(tmpdir(), `sallyport-${label}-`))
    this.#hosts = hosts
    // Its workers are another user.
    chmodSync(this.dir, 0o755)
    scope.after(async () => {
      await this.stop()
      rmSync(this.dir, { recursive: true })
    })
  }

  file(name: string): string {
    return join(this.dir, name)
  }

  /** What Apache and its modules say. */
  get log(): string {
    try {
      return readFileSync(this.file('error.log'), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
      throw error
    }
  }

  /**
   * Starts it; it has ended before, or never ran.
   *
   * @param origin by which people reach it
   * @param load names of modules, beside those that every configuration needs
   * @param more directives
   */
  async start(options: {
    port: number
    origin: string
    load: readonly string[]
    more: string
  }): Promise<void> {
    rmSync(this.file('error.log'), { force: true })
    writeFileSync(this.file('httpd.conf'), toConfiguration(this.dir, options))
    const args = ['-f', this.file('httpd.conf'), '-D', 'FOREGROUND']
    const child = spawn('setpriv', ['--pdeathsig=TERM', ...this.#toCommand(args)], {
      stdio: 'ignore',
    })
    this.#process = child
    // Written once it listens.
    while (!this.log.includes('resuming normal operations')) {
      if (child.exitCode !== null) throw new Error(`apache2 ended: ${this.log}`)
      await setTimeout(20)
    }
  }

  #toCommand(args: readonly string[]): string[] {
    if (this.#hosts.length === 0) return [program, ...args]
    const hosts = this.file('hosts')
    writeFileSync(hosts, `127.0.0.1 localhost ${this.#hosts.join(' ')}\n`)
    // Over the file that everybody else still sees.
    const script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ['unshare', '--mount', 'sh', '-c', script, hosts, program, ...args]
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

const alwaysLoaded = ['mpm_event', 'authn_core', 'authz_core', 'authz_user']

function toConfiguration(
  dir: string,
  {
    port,
    origin,
    load,
    more,
  }: { port: number; origin: string; load: readonly string[]; more: string },
): string {
  return `ServerRoot ${dir}
ServerName ${origin}
UseCanonicalName On
Listen 127.0.0.1:${port}
PidFile ${dir}/pid
DefaultRuntimeDir ${dir}
Mutex pthread default
ErrorLog ${dir}/error.log
LogLevel notice
${[...alwaysLoaded, ...load, 'mime', 'dir', 'include']
  .map((name) => `LoadModule ${name}_module ${modules}/mod_${name}.so`)
  .join('\n')}
TypesConfig /dev/null
AddType text/html .html
AddOutputFilter INCLUDES .html
User www-data
Group www-data
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
DocumentRoot ${dir}/htdocs
DirectoryIndex index.html
<Directory ${dir}/htdocs>
Options +Includes
</Directory>
${more}`
}
