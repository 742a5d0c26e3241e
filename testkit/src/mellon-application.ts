import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Scope } from './scope.ts'

const modules = '/usr/lib/apache2/modules'

/**
 * An application that signs people on by SAML: Apache with mod_auth_mellon. Its page says who it believes to be served; below
 * `/mellon/` are its endpoints, and its metadata at `/mellon/metadata`.
 */
export class MellonApplication {
  readonly #dir: string
  #process: ChildProcess | undefined

  private constructor(dir: string) {
    this.#dir = dir
  }

  /**
   * @param port that it listens on, of 127.0.0.1
   * @param externalUrl by which people reach it, with its path
   * @param metadata of the identity provider, XML
   */
  static async start(
    scope: Scope,
    { port, externalUrl, metadata }: { port: number; externalUrl: string; metadata: string },
  ): Promise<MellonApplication> {
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-mellon-'))
    // Its workers are another user.
    chmodSync(dir, 0o755)
    const application = new MellonApplication(dir)
    scope.after(async () => {
      await application.stop()
      rmSync(dir, { recursive: true })
    })
    const options = 'req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=mellon'
    const files = ['-keyout', join(dir, 'sp.key'), '-out', join(dir, 'sp.cert')]
    execFileSync('openssl', [...options.split(' '), ...files], { stdio: 'ignore' })
    chmodSync(join(dir, 'sp.key'), 0o644)
    writeFileSync(join(dir, 'idp.xml'), metadata)
    mkdirSync(join(dir, 'htdocs'))
    writeFileSync(
      join(dir, 'htdocs/index.html'),
      '<!doctype html><title>Payroll</title><h1>Payroll of <!--#echo var="REMOTE_USER" --></h1><p id="name"><!--#echo var="MELLON_name" --></p><p id="groups"><!--#echo var="MELLON_groups" --></p><a href="/mellon/logout?ReturnTo=/">Log out</a>\n',
    )
    writeFileSync(join(dir, 'httpd.conf'), toConfiguration(dir, port, new URL(externalUrl).origin))
    await application.#run()
    return application
  }

  /** What Apache and mod_auth_mellon say. */
  get log(): string {
    try {
      return readFileSync(join(this.#dir, 'error.log'), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
      throw error
    }
  }

  /** Another metadata file of the identity provider; Apache reads it when it starts. */
  async useMetadata(metadata: string): Promise<void> {
    writeFileSync(join(this.#dir, 'idp.xml'), metadata)
    await this.stop()
    rmSync(join(this.#dir, 'error.log'))
    await this.#run()
  }

  async #run(): Promise<void> {
    const args = ['--pdeathsig=TERM', '/usr/sbin/apache2', '-f', join(this.#dir, 'httpd.conf')]
    const child = spawn('setpriv', [...args, '-D', 'FOREGROUND'], { stdio: 'ignore' })
    this.#process = child
    // Written once it listens.
    while (!this.log.includes('resuming normal operations')) {
      if (child.exitCode !== null) throw new Error(`apache2 ended: ${this.log}`)
      await setTimeout(20)
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

function toConfiguration(dir: string, port: number, origin: string): string {
  const load = [
    'mpm_event',
    'authn_core',
    'authz_core',
    'authz_user',
    'auth_mellon',
    'mime',
    'dir',
    'include',
  ]
  return `ServerRoot ${dir}
ServerName ${origin}
UseCanonicalName On
Listen 127.0.0.1:${port}
PidFile ${dir}/pid
DefaultRuntimeDir ${dir}
Mutex pthread default
ErrorLog ${dir}/error.log
LogLevel notice
${load.map((name) => `LoadModule ${name}_module ${modules}/mod_${name}.so`).join('\n')}
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
MellonLockFile ${dir}/mellon.lock
<Directory ${dir}/htdocs>
Options +Includes
</Directory>
<Location />
MellonEnable auth
MellonEndpointPath /mellon
MellonSPPrivateKeyFile ${dir}/sp.key
MellonSPCertFile ${dir}/sp.cert
MellonIdPMetadataFile ${dir}/idp.xml
MellonSecureCookie On
MellonMergeEnvVars On
MellonSessionDump Off
AuthType Mellon
Require valid-user
</Location>
`
}
