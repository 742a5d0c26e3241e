import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { Apache } from './apache.ts'
import type { Scope } from './scope.ts'

/**
 * An application that signs people on by SAML: Apache with mod_auth_mellon. Its page says who it believes to be served; below
 * `/mellon/` are its endpoints, and its metadata at `/mellon/metadata`.
 */
export class MellonApplication {
  readonly #apache: Apache
  readonly #port: number
  readonly #origin: string

  private constructor(apache: Apache, port: number, origin: string) {
    this.#apache = apache
    this.#port = port
    this.#origin = origin
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
    const apache = new Apache(scope, 'mellon')
    const application = new MellonApplication(apache, port, new URL(externalUrl).origin)
    const options = 'req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=mellon'
    const files = ['-keyout', apache.file('sp.key'), '-out', apache.file('sp.cert')]
    execFileSync('openssl', [...options.split(' '), ...files], { stdio: 'ignore' })
    chmodSync(apache.file('sp.key'), 0o644)
    writeFileSync(apache.file('idp.xml'), metadata)
    mkdirSync(apache.file('htdocs'))
    writeFileSync(
      apache.file('htdocs/index.html'),
      '<!doctype html><title>Payroll</title><h1>Payroll of <!--#echo var="REMOTE_USER" --></h1><p id="name"><!--#echo var="MELLON_name" --></p><p id="groups"><!--#echo var="MELLON_groups" --></p><a href="/mellon/logout?ReturnTo=/">Log out</a>\n',
    )
    await application.#run()
    return application
  }

  /** What Apache and mod_auth_mellon say. */
  get log(): string {
    return this.#apache.log
  }

  /** Another metadata file of the identity provider; Apache reads it when it starts. */
  async useMetadata(metadata: string): Promise<void> {
    writeFileSync(this.#apache.file('idp.xml'), metadata)
    await this.#apache.stop()
    await this.#run()
  }

  #run(): Promise<void> {
    return this.#apache.start({
      port: this.#port,
      origin: this.#origin,
      load: ['auth_mellon'],
      more: toDirectives(this.#apache.dir),
    })
  }
}

function toDirectives(dir: string): string {
  return `MellonLockFile ${dir}/mellon.lock
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
