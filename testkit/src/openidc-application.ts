import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Apache } from './apache.ts'
import { pageModules, writeApplicationPage } from './application-page.ts'
import { isOpenTo } from './mellon-application.ts'
import type { Scope } from './scope.ts'

export interface OpenidcOptions {
  /** That it listens on, of 127.0.0.1. */
  port: number
  /** By which people reach it. */
  externalUrl: string
  /** Discovery document of the provider; its host is found at 127.0.0.1. */
  metadataUrl: string
  /** PEM of the authority by which it knows the provider. */
  ca: string
  clientId: string
  clientSecret: string
  /** How it wants codes; default: by the query. */
  responseMode?: 'form_post'
}

/**
 * An application that signs people on by OpenID Connect: Apache with mod_auth_openidc. Its page says who it believes to be served;
 * `/oidc/callback` is its redirect URI and all its other endpoints.
 */
export class OpenidcApplication {
  readonly #apache: Apache
  readonly #site: string
  #options: OpenidcOptions

  private constructor(apache: Apache, site: string, options: OpenidcOptions) {
    this.#apache = apache
    this.#site = site
    this.#options = options
  }

  /** Needs root: it finds the provider by names of its own. */
  static async start(scope: Scope, options: OpenidcOptions): Promise<OpenidcApplication> {
    const { hostname } = new URL(options.metadataUrl)
    const apache = Apache.create(scope, 'openidc', undefined, [hostname])
    writeFileSync(join(apache.dir, 'ca.pem'), options.ca)
    const after = encodeURIComponent(new URL('/', options.externalUrl).href)
    const site = writeApplicationPage(apache.dir, {
      title: 'Wages',
      heading: 'Wages of',
      table: [
        ['Shift', 'Hours', 'Rate', 'Sum'],
        ['Early', '64', '24.50', '1,568.00'],
        ['Late', '48', '26.20', '1,257.60'],
        ['Night', '16', '31.00', '496.00'],
      ],
      links: [['Log out', `/oidc/callback?logout=${after}`]],
      shown: {
        name: ['Signed on as', 'OIDC_CLAIM_name'],
        groups: ['Groups', 'OIDC_CLAIM_groups'],
      },
    })
    const application = new OpenidcApplication(apache, site, options)
    await application.#run()
    return application
  }

  /** What Apache and mod_auth_openidc say. */
  get log(): string {
    return this.#apache.log
  }

  /** Whether a session cookie of its own opens it, asked past the gateway. @param cookie of the Cookie field */
  async isOpenTo(cookie: string): Promise<boolean> {
    const { port, externalUrl } = this.#options
    return isOpenTo(port, cookie, new URL(externalUrl).host)
  }

  /** Starts it again with other options. It forgets its sessions, too. */
  async restart(changes: Partial<OpenidcOptions>): Promise<void> {
    this.#options = { ...this.#options, ...changes }
    await this.#apache.stop()
    await this.#run()
  }

  #run(): Promise<void> {
    const { port, externalUrl } = this.#options
    const { origin } = new URL(externalUrl)
    this.#apache.configure({
      modules: ['authz_user', 'auth_openidc', ...pageModules],
      lines: this.#toLines(port, origin),
    })
    return this.#apache.run()
  }

  #toLines(port: number, origin: string): string {
    const { metadataUrl, clientId, clientSecret, responseMode } = this.#options
    const { dir } = this.#apache
    return `ServerName ${origin}
UseCanonicalName On
Listen 127.0.0.1:${port}
${this.#site}
OIDCProviderMetadataURL ${metadataUrl}
OIDCClientID ${clientId}
OIDCClientSecret ${clientSecret}
OIDCRedirectURI ${origin}/oidc/callback
OIDCCryptoPassphrase "exec:/usr/bin/openssl rand -hex 32"
OIDCCABundlePath ${dir}/ca.pem
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCRemoteUserClaim preferred_username
OIDCDefaultURL ${origin}/
${responseMode === undefined ? '' : `OIDCResponseMode ${responseMode}`}
<Location />
AuthType openid-connect
Require valid-user
</Location>`
  }
}
