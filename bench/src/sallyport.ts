// The side of ours: service and connector as the processes that an administrator would run.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Child,
  connectorOnline,
  controlOf,
  type Execute,
  enrollConnectorProcess,
  spawnConnector,
  startServiceProcess,
  writeAllowList,
} from '@sallyport/cli'
import { Client, submitSignIn } from '@sallyport/testkit'
import { findFreePorts, settledProcesses } from './processes.ts'
import type { LoggedRequest, Side } from './side.ts'

export interface SallyportSide extends Side {
  gatewayPids: number[]
  connectorPids: number[]
  /** Carries out a command in the service, as `sallyport` does. */
  execute: Execute
  /** `https://<name>.<base domain>:<port>` */
  originOf(name: string): string
  /** Ends the session whose cookie the targets carry. */
  revoke(): Promise<void>
}

const DOMAIN = 'bench.localhost'
const HOST = `app.${DOMAIN}`
export const PASSWORD = 'nine small dogs and a cart'
const USER = { userName: 'ana', password: PASSWORD }

/**
 * Starts a service and an enrolled connector in front of the origin, publishes it with
 * pre-authentication and sign-on by headers, and signs a user in.
 *
 * @param options.folder keeps all they write
 * @param options.originUrl without a slash at the end
 */
export async function startSallyport(options: {
  folder: string
  originUrl: string
}): Promise<SallyportSide> {
  const { folder, originUrl } = options
  const children: Child[] = []
  const close = async () => {
    for (const child of children.reverse()) await child.stop()
  }
  try {
    const [port, plainPort] = (await findFreePorts(2)) as [number, number]
    const dataDir = join(folder, 'service')
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    const service = await startService({ dataDir, port, plainPort })
    children.push(service)
    const execute = controlOf(dataDir)
    await publish(execute, { externalUrl: `https://${HOST}:${port}/`, originUrl })
    const connector = await startConnector(execute, {
      stateDir: join(folder, 'connector'),
      service: `https://connect.${DOMAIN}:${port}`,
      allow: [new URL(originUrl).host],
      keep: (child) => children.push(child),
    })
    const { webCa, cookie } = await signIn(dataDir, port)
    const gatewayPids = await settledProcesses([service.pid])
    const connectorPids = await settledProcesses([connector.pid])
    return {
      tls: { url: `https://${HOST}:${port}`, cookie, caFile: webCa },
      plain: { url: `http://${HOST}:${plainPort}`, host: `${HOST}:${port}`, cookie },
      gatewayPids,
      connectorPids,
      pids: [...gatewayPids, ...connectorPids],
      accessLog: join(dataDir, 'access.log'),
      readRecord,
      execute,
      originOf: (name) => `https://${name}.${DOMAIN}:${port}`,
      revoke: () => endSessions(execute),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function startService(options: {
  dataDir: string
  port: number
  plainPort: number
}): Promise<Child> {
  const { dataDir, port, plainPort } = options
  const configFile = join(dataDir, 'sallyport.yaml')
  await writeFile(
    configFile,
    `baseDomain: ${DOMAIN}
dataDir: .
logLevel: warn
accessLogRotation: { maxSizeMiB: 0 }
listen: { address: 127.0.0.1, port: ${port} }
plainListen: { address: 127.0.0.1, port: ${plainPort} }
`,
  )
  const { child } = await startServiceProcess(configFile, { onErrorText: complain })
  return child
}

async function publish(
  execute: Execute,
  { externalUrl, originUrl }: { externalUrl: string; originUrl: string },
): Promise<void> {
  await execute('user.create', { ...USER, displayName: 'Ana Bench', mail: 'ana@bench.localhost' })
  await execute('app.create', {
    name: 'app',
    displayName: 'Bench',
    externalUrl,
    internalUrl: `${originUrl}/`,
    signOn: {
      method: 'headers',
      headers: [
        { name: 'X-User', claim: 'userName' },
        { name: 'X-User-Mail', claim: 'mail' },
        { name: 'X-User-Id', claim: 'objectId' },
      ],
    },
  })
  await execute('app.assign', { name: 'app', user: USER.userName })
}

async function startConnector(
  execute: Execute,
  options: { stateDir: string; service: string; allow: string[]; keep(child: Child): void },
): Promise<Child> {
  const { stateDir, service, allow } = options
  await enrollConnectorProcess({ execute, service, stateDir, name: 'bench' })
  writeAllowList(stateDir, allow)
  const connector = spawnConnector(stateDir, {
    args: ['--log-level', 'warn'],
    onErrorText: complain,
  })
  options.keep(connector)
  await connectorOnline(stateDir, connector)
  return connector
}

async function signIn(dataDir: string, port: number): Promise<{ webCa: string; cookie: string }> {
  const webCa = join(dataDir, 'web-ca.pem')
  const client = new Client(port, await readFile(webCa, 'utf8'))
  try {
    await signInAt(client, `https://${HOST}:${port}/120`, USER.userName)
    return { webCa, cookie: client.cookieHeader(HOST) }
  } finally {
    client.close()
  }
}

/** Signs a user in by way of an application. @param url where it was opened */
export async function signInAt(client: Client, url: string, userName: string): Promise<void> {
  await submitPassword(client, await client.open(url), userName, url)
}

/** @param url where the sign-in has to lead */
export async function submitPassword(
  client: Client,
  page: { url: string; body: string },
  userName: string,
  url: string,
): Promise<void> {
  const answer = await submitSignIn(client, page, userName, PASSWORD)
  if (answer.status !== 200 || answer.url !== url)
    throw new Error(`sign-in ended with ${answer.status} at ${answer.url.split('?')[0]}`)
}

async function endSessions(execute: Execute): Promise<void> {
  const sessions = (await execute('session.list', {})) as { id: string }[]
  if (sessions.length === 0) throw new Error('there is no session to end')
  for (const { id } of sessions) await execute('session.end', { sessionId: id })
}

function readRecord(line: string): LoggedRequest {
  const { id, decision, statusCode } = JSON.parse(line)
  return { id, isServed: decision === 'allow' && statusCode === 200 }
}

function complain(text: string): void {
  process.stderr.write(text)
}
