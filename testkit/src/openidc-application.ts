import { mkdirSync, writeFileSync } from 'node:fs'
import { Apache } from './apache.ts'
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
  #options: OpenidcOptions

  private constructor(apache: Apache, options: OpenidcOptions) {
    this.#apache = apache
    this.#options = options
  }

  /** Needs root: it finds the provider by names of its own. */
  static async start(scope: Scope, options: OpenidcOptions): Promise<OpenidcApplication> {
    const apache = new Apache(scope, 'openidc', [new URL(options.metadataUrl).hostname])
    const application = new OpenidcApplication(apache, options)
    writeFileSync(apache.file('ca.pem'), options.ca)
    mkdirSync(apache.file('htdocs'))
    const after = encodeURIComponent(new URL('/', options.externalUrl).href)
    writeFileSync(
      apache.file('htdocs/index.html'),
      `<!doctype html><title>Wages</title><h1>Wages of <!--#echo var="REMOTE_USER" --></h1><p id="name"><!--#echo var="OIDC_CLAIM_name" --></p><p id="groups"><!--#echo var="OIDC_CLAIM_groups" --></p><a href="/oidc/callback?logout=${after}">Log out</a>\n`,
    )
    await application.#run()
    return application
  }

  /** What Apache and mod_auth_openidc say. */
  get log(): string {
    return this.#apache.log
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
    return this.#apache.start({
      port,
      origin,
      load: ['auth_openidc'],
      more: this.#toDirectives(origin),
    })
  }

  #toDirectives(origin: string): string {
    const { metadataUrl, clientId, clientSecret, responseMode } = this.#options
    return `OIDCProviderMetadataURL ${metadataUrl}
OIDCClientID ${clientId}
OIDCClientSecret ${clientSecret}
OIDCRedirectURI ${origin}/oidc/callback
OIDCCryptoPassphrase "exec:/usr/bin/openssl rand -hex 32"
OIDCCABundlePath ${this.#apache.file('ca.pem')}
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCRemoteUserClaim preferred_username
OIDCDefaultURL ${origin}/
${responseMode === undefined ? '' : `OIDCResponseMode ${responseMode}`}
<Location />
AuthType openid-connect
Require valid-user
</Location>
`
  }
}
