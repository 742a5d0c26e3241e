// One person's way through every method of sign-on: one system, and behind it an application of each kind, all of them real.
import { startIntranet } from '@sallyport/example-intranet'
import {
  findFreePort,
  MellonApplication,
  OpenidcApplication,
  type Scope,
  type System,
  startSystem,
} from '@sallyport/testkit'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { IwaApplication } from '@sallyport/testkit/iwa-application'
import type { BrowserContext, Page } from 'playwright-core'
import { trustKey } from './passwords.ts'
import {
  productPassword,
  startBasicApplication,
  startDokuWiki,
  startMediaWiki,
} from './products.ts'
import { startServiceProvider } from './saml.ts'

/** An application of the walk before it runs. */
interface Stop {
  name: string
  displayName: string
  /** How people are signed on, in a few words. */
  signOn: string
  /** Starts the application. */
  start(scope: Scope, directory: ActiveDirectory): Promise<Origin>
}

/** Where an application runs, and what Sallyport has to know of it. */
interface Origin {
  internalUrl: string
  /** Fields of the application as it is created. */
  set: Record<string, unknown>
  /** What is left to do when it is published. */
  finish?(scope: Scope, system: System): Promise<void>
  /** Resolves when the page shows what only a person shows who is signed on, by name. */
  opened(page: Page): Promise<unknown>
  /** Whether its own session is open yet, asked past the gateway; of those that are told of a sign-out. */
  isOpenTo?(cookie: string): Promise<boolean>
  /** Resolves when it was told of a sign-out, of those that are told by the service and not on the way of the browser. */
  told?(system: System): Promise<unknown>
}

/** An application that can be walked to. */
export type WalkApplication = Omit<Stop, 'start'> & Origin & { url: string }

const form = { method: 'password', kind: 'form' }

/** In the order in which they are opened. */
const stops: readonly Stop[] = [
  {
    name: 'timesheets',
    displayName: 'Time sheets',
    signOn: 'Kerberos',
    async start(scope, directory) {
      const iwa = await IwaApplication.start(scope, directory, ['app.corp.example'])
      return {
        internalUrl: `http://app.corp.example:${iwa.httpPort}/`,
        set: {
          signOn: {
            method: 'kerberos',
            kerberosServicePrincipalName: 'HTTP/app.corp.example',
            kerberosSignOnMappingAttributeType: 'onPremisesSAMAccountName',
          },
        },
        opened: (page) =>
          page.getByRole('heading', { name: 'Week of alice@CORP.EXAMPLE' }).waitFor(),
      }
    },
  },
  {
    name: 'intranet',
    displayName: 'Intranet',
    signOn: 'Headers',
    async start(scope) {
      const intranet = await startIntranet()
      scope.after(() => intranet.close())
      return {
        internalUrl: `${intranet.url}/`,
        set: {
          signOn: {
            method: 'headers',
            headers: [
              { name: 'X-User', claim: 'userName' },
              { name: 'X-User-Display-Name', claim: 'displayName' },
              { name: 'X-User-Email', claim: 'mail' },
            ],
          },
        },
        async opened(page) {
          await page.getByRole('heading', { name: 'Good day, Ana' }).waitFor()
          await page.getByText('connected', { exact: true }).first().waitFor()
        },
      }
    },
  },
  {
    name: 'warehouse',
    displayName: 'Warehouse',
    signOn: 'HTTP Basic',
    async start(scope) {
      return {
        internalUrl: `http://127.0.0.1:${await startBasicApplication(scope)}/`,
        set: { signOn: { method: 'password', kind: 'basic' } },
        finish: (_, system) => keepPassword(system, 'warehouse', 'ana'),
        opened: (page) => page.getByRole('heading', { name: 'Stock, counted by ana' }).waitFor(),
      }
    },
  },
  {
    name: 'handbook',
    displayName: 'Handbook',
    signOn: 'Sign-in form (DokuWiki)',
    async start(scope) {
      return {
        internalUrl: `http://127.0.0.1:${await startDokuWiki(scope)}/`,
        set: { signOn: { ...form, signInPage: '/doku.php?id=start&do=login' } },
        finish: (_, system) => keepPassword(system, 'handbook', 'ana'),
        opened: (page) => page.getByText('Logged in as: Ana Inside').waitFor(),
      }
    },
  },
  {
    name: 'wiki',
    displayName: 'Wiki',
    signOn: 'Sign-in form (MediaWiki)',
    async start(scope) {
      return {
        internalUrl: `http://127.0.0.1:${await startMediaWiki(scope)}/`,
        set: { signOn: { ...form, signInPage: '/index.php/Special:UserLogin' } },
        finish: (_, system) => keepPassword(system, 'wiki', 'Ana'),
        opened: (page) =>
          page.getByRole('navigation', { name: 'Personal tools' }).getByText('Ana').waitFor(),
      }
    },
  },
  {
    name: 'payroll',
    displayName: 'Payroll',
    signOn: 'SAML',
    async start() {
      const port = await findFreePort()
      let mellon: MellonApplication
      return {
        internalUrl: `http://127.0.0.1:${port}/`,
        set: { hostHeader: 'external' },
        async finish(scope, system) {
          const at = { name: 'payroll', port }
          mellon = await startServiceProvider(scope, system, at, MellonApplication, {
            attributes: [{ name: 'name', claim: 'displayName' }],
            requireSignedRequests: true,
          })
        },
        opened: (page) => page.getByRole('heading', { name: 'Payroll of Ana Lindqvist' }).waitFor(),
        isOpenTo: (cookie) => mellon.isOpenTo(cookie),
      }
    },
  },
  {
    name: 'wages',
    displayName: 'Wages',
    signOn: 'OpenID Connect',
    async start() {
      const port = await findFreePort()
      const internalUrl = `http://127.0.0.1:${port}/`
      let application: OpenidcApplication
      return {
        internalUrl,
        set: {
          hostHeader: 'external',
          signOn: {
            method: 'oidc',
            redirectUris: [`${internalUrl}oidc/callback`],
            backChannelLogoutUri: `${internalUrl}oidc/callback?logout=backchannel`,
            claims: [{ name: 'groups', claim: 'groups' }],
          },
        },
        async finish(scope, system) {
          const ask = (command: string) => system.execute(command, { name: 'wages' })
          const { clientId, secret } = (await ask('app.secret.create')) as Record<string, string>
          const { discovery } = (await ask('app.oidc.show')) as Record<string, string>
          application = await OpenidcApplication.start(scope, {
            port,
            externalUrl: system.url('wages'),
            metadataUrl: discovery!,
            ca: system.ca,
            clientId: clientId!,
            clientSecret: secret!,
          })
        },
        opened: (page) => page.getByRole('heading', { name: 'Wages of ana' }).waitFor(),
        isOpenTo: (cookie) => application.isOpenTo(cookie),
        told: (system) =>
          system.recordOf(
            ({ decision, host }) => decision === 'own' && host === system.host('wages'),
          ),
      }
    },
  },
]

/** As an administrator, so that nobody types it. */
async function keepPassword(system: System, name: string, userName: string): Promise<void> {
  const credential = { userName, password: productPassword }
  await system.execute('credential.set', { application: name, user: 'ana', ...credential })
}

export interface Walk {
  system: System
  /** In the order in which they are opened. */
  applications: readonly WalkApplication[]
}

/** Starts everything that Ana, who is alice in Active Directory, can walk to. */
export async function startWalk(scope: Scope): Promise<Walk> {
  const directory = await startCorpExample(scope)
  const origins = await Promise.all(stops.map((stop) => stop.start(scope, directory)))
  const system = await startSystem(scope, {
    users: ['ana'],
    allow: origins.map(({ internalUrl }) => `127.0.0.1:${new URL(internalUrl).port}`),
    addresses: { 'app.corp.example': '127.0.0.1' },
    kerberos: [
      {
        account: `svc-connector@${directory.realm}`,
        keytab: await directory.keytab('svc-connector'),
        kdcs: [directory.ip],
        neverImpersonate: [],
      },
    ],
    applications: stops.map(({ name, displayName }, index) => ({
      name,
      internalUrl: origins[index]!.internalUrl,
      set: { displayName, ...origins[index]!.set },
    })),
  })
  await system.execute('user.update', {
    userName: 'ana',
    displayName: 'Ana Lindqvist',
    onPremisesSamAccountName: 'alice',
  })
  await system.execute('group.create', { name: 'clerks' })
  await system.execute('group.add-member', { group: 'clerks', user: 'ana' })
  for (const connector of system.connectors) await trustKey(system, connector)
  const applications = stops.map((stop, index) => ({
    ...stop,
    ...origins[index]!,
    url: system.url(stop.name),
  }))
  for (const { finish } of applications) await finish?.(scope, system)
  return { system, applications }
}

/** The Cookie field that the browser sends to the application. */
export async function cookieFor(context: BrowserContext, url: string): Promise<string> {
  const cookies = await context.cookies(url)
  return cookies.map(({ name, value }) => `${name}=${value}`).join('; ')
}
