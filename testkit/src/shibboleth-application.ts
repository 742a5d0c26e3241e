import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Apache, chownToWorkers } from './apache.ts'
import { pageModules, writeApplicationPage } from './application-page.ts'
import {
  isOpenTo,
  makeServiceProviderKey,
  type ServiceProviderOptions,
} from './mellon-application.ts'
import type { Scope } from './scope.ts'

/** Where Debian keeps what nobody changes. */
const etc = '/etc/shibboleth'

/**
 * An application that signs people on by SAML: Apache with mod_shib, and its daemon. Its page says who it believes to be served;
 * below `/Shibboleth.sso/` are its endpoints.
 */
export class ShibbolethApplication {
  static readonly entityPath = 'shibboleth'
  static readonly consumerPath = 'Shibboleth.sso/SAML2/POST'

  readonly #port: number

  private constructor(port: number) {
    this.#port = port
  }

  static async start(
    scope: Scope,
    { port, externalUrl, metadata }: ServiceProviderOptions,
  ): Promise<ShibbolethApplication> {
    const apache = Apache.create(scope, 'shibboleth')
    const { dir } = apache
    makeServiceProviderKey(dir)
    writeFileSync(join(dir, 'idp.xml'), metadata)
    const site = writeApplicationPage(dir, {
      title: 'Library',
      heading: 'Loans of',
      name: 'displayName',
      table: [
        ['Title', 'Due'],
        ['The Practice of Programming', '3 May'],
      ],
      links: [['Log out', '/Shibboleth.sso/Logout?return=/']],
    })
    const { origin } = new URL(externalUrl)
    writeFileSync(join(dir, 'shibboleth2.xml'), toConfiguration(dir, origin, metadata))
    writeFileSync(join(dir, 'attribute-map.xml'), attributeMap)
    for (const name of ['shibd', 'native'])
      writeFileSync(join(dir, `${name}.logger`), toLogger(join(dir, `${name}.log`)))
    writeFileSync(join(dir, 'native.log'), '')
    chownToWorkers(join(dir, 'native.log'))
    await startDaemon(scope, dir)
    apache.configure({
      modules: ['authz_user', ...pageModules],
      lines: `LoadModule mod_shib /usr/lib/apache2/modules/mod_shib.so
ServerName ${origin}
UseCanonicalName On
Listen 127.0.0.1:${port}
${site}
ShibConfig ${dir}/shibboleth2.xml
<Location />
AuthType shibboleth
ShibRequestSetting requireSession 1
Require valid-user
</Location>`,
    })
    await apache.run()
    return new ShibbolethApplication(port)
  }

  get metadataUrl(): string {
    return `http://127.0.0.1:${this.#port}/Shibboleth.sso/Metadata`
  }

  /** Whether a session cookie of its own opens it, asked past the gateway. @param cookie of the Cookie field */
  async isOpenTo(cookie: string): Promise<boolean> {
    return isOpenTo(this.#port, cookie)
  }
}

async function startDaemon(scope: Scope, dir: string): Promise<void> {
  const args = ['-F', '-f', '-c', join(dir, 'shibboleth2.xml'), '-p', join(dir, 'shibd.pid')]
  const child: ChildProcess = spawn('setpriv', ['--pdeathsig=TERM', '/usr/sbin/shibd', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const exited = once(child, 'exit')
  scope.after(async () => {
    child.kill('SIGTERM')
    await exited
  })
  while (!existsSync(join(dir, 'shibd.sock'))) {
    if (child.exitCode !== null) throw new Error(`shibd ended with ${child.exitCode}: ${said}`)
    await setTimeout(20)
  }
}

function toConfiguration(dir: string, origin: string, metadata: string): string {
  const identityProvider = /entityID="([^"]+)"/.exec(metadata)![1]!
  return `<SPConfig xmlns="urn:mace:shibboleth:3.0:native:sp:config" clockSkew="180">
<OutOfProcess logger="${dir}/shibd.logger"/>
<InProcess logger="${dir}/native.logger"/>
<UnixListener address="${dir}/shibd.sock"/>
<ApplicationDefaults entityID="${origin}/shibboleth" REMOTE_USER="uid" signing="true">
<Sessions lifetime="28800" timeout="3600" relayState="ss:mem" checkAddress="false" handlerSSL="true" cookieProps="https" redirectLimit="exact">
<SSO entityID="${identityProvider}">SAML2</SSO>
<Logout>SAML2 Local</Logout>
<Handler type="MetadataGenerator" Location="/Metadata" signing="false"/>
</Sessions>
<Errors supportContact="root@localhost"/>
<MetadataProvider type="XML" validate="false" path="${dir}/idp.xml"/>
<AttributeExtractor type="XML" validate="false" path="${dir}/attribute-map.xml"/>
<AttributeFilter type="XML" validate="false" path="${etc}/attribute-policy.xml"/>
<CredentialResolver type="File" key="${dir}/sp.key" certificate="${dir}/sp.cert"/>
</ApplicationDefaults>
<SecurityPolicyProvider type="XML" validate="false" path="${etc}/security-policy.xml"/>
<ProtocolProvider type="XML" validate="false" path="${etc}/protocols.xml"/>
</SPConfig>
`
}

const attributeMap = `<Attributes xmlns="urn:mace:shibboleth:2.0:attribute-map">
<Attribute name="urn:oid:0.9.2342.19200300.100.1.1" id="uid"/>
<Attribute name="urn:oid:2.16.840.1.113730.3.1.241" id="displayName"/>
</Attributes>
`

function toLogger(file: string): string {
  return `log4j.rootCategory=INFO, file
log4j.appender.file=org.apache.log4j.FileAppender
log4j.appender.file.fileName=${file}
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%d{%Y-%m-%d %H:%M:%S} %p %c %x: %m%n
`
}
