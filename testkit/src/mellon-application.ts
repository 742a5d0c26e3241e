import { execFileSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { Apache } from './apache.ts'
import { pageModules, writeApplicationPage } from './application-page.ts'
import type { Scope } from './scope.ts'

/** Of an application that signs people on by SAML. */
export interface ServiceProviderOptions {
  /** That it listens on, of 127.0.0.1. */
  port: number
  /** By which people reach it, with its path. */
  externalUrl: string
  /** Of the identity provider, XML. */
  metadata: string
}

/**
 * An application that signs people on by SAML: Apache with mod_auth_mellon. Its page says who it believes to be served; below
 * `/mellon/` are its endpoints, and its metadata at `/mellon/metadata`.
 */
export class MellonApplication {
  static readonly entityPath = 'mellon/metadata'
  static readonly consumerPath = 'mellon/postResponse'
  readonly #apache: Apache
  readonly #port: number

  private constructor(apache: Apache, port: number) {
    this.#apache = apache
    this.#port = port
  }

  static async start(
    scope: Scope,
    { port, externalUrl, metadata }: ServiceProviderOptions,
  ): Promise<MellonApplication> {
    const apache = Apache.create(scope, 'mellon')
    const { dir } = apache
    makeServiceProviderKey(dir)
    writeFileSync(join(dir, 'idp.xml'), metadata)
    const site = writeApplicationPage(dir, {
      title: 'Payroll',
      heading: 'Payroll of',
      name: 'MELLON_name',
      table: [
        ['Month', 'Gross', 'Net', 'Paid'],
        ['March', '4,210.00', '2,781.40', '28 March'],
        ['February', '4,210.00', '2,781.40', '27 February'],
        ['January', '4,085.00', '2,702.15', '30 January'],
      ],
      links: [['Log out', '/mellon/logout?ReturnTo=/']],
    })
    apache.configure({
      modules: ['authz_user', 'auth_mellon', ...pageModules],
      lines: toLines(dir, site, port, new URL(externalUrl).origin),
    })
    await apache.run()
    return new MellonApplication(apache, port)
  }

  get metadataUrl(): string {
    return `http://127.0.0.1:${this.#port}/mellon/metadata`
  }

  /** Whether a session cookie of its own opens it, asked past the gateway. @param cookie of the Cookie field */
  async isOpenTo(cookie: string): Promise<boolean> {
    return isOpenTo(this.#port, cookie)
  }

  /** Another metadata file of the identity provider; Apache reads it when it starts. */
  async useMetadata(metadata: string): Promise<void> {
    writeFileSync(join(this.#apache.dir, 'idp.xml'), metadata)
    await this.#apache.stop()
    await this.#apache.run()
  }
}

/**
 * Whether the application on the port serves its page to whoever has the cookies.
 *
 * @param host that it is asked for, when it looks at that
 */
export function isOpenTo(
  port: number,
  cookie: string,
  host = `127.0.0.1:${port}`,
): Promise<boolean> {
  const headers = { host, cookie, accept: 'text/html' }
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path: '/', headers, agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    }).once('error', reject)
  })
}

/** `sp.key` and `sp.cert` in the folder, with which the application signs. */
export function makeServiceProviderKey(dir: string): void {
  const options = 'req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=sp'
  const files = ['-keyout', join(dir, 'sp.key'), '-out', join(dir, 'sp.cert')]
  execFileSync('openssl', [...options.split(' '), ...files], { stdio: 'ignore' })
  chmodSync(join(dir, 'sp.key'), 0o644)
}

function toLines(dir: string, site: string, port: number, origin: string): string {
  return `ServerName ${origin}
UseCanonicalName On
Listen 127.0.0.1:${port}
${site}
MellonLockFile ${dir}/mellon.lock
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
</Location>`
}
