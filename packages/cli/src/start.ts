import { accessSync, constants, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isEnrolled } from '@sallyport/connector'
import { isHostName } from '@sallyport/domain'
import { Command, InvalidArgumentError } from 'commander'
import { type Child, startChild } from './child.ts'
import { demoApplications, provisionDemo, readDemoFacts } from './demo.ts'
import {
  connectorOnline,
  controlOf,
  enrollConnectorProcess,
  spawnConnector,
  startServiceProcess,
  writeAllowList,
} from './demo-processes.ts'
import { CommandError, closeOnSignal, reportError } from './output.ts'

interface Options {
  port: number
  domain: string
  dataDir: string
  readyFile?: string
}

const examples = join(import.meta.dirname, '../../../examples')

const program = new Command('npm start --')
  .description(
    'Runs a whole Sallyport on this machine: service, connector and two sample applications',
  )
  .option('--port <n>', 'TLS port', toPort, 8443)
  .option('--domain <name>', 'base domain', toDomain, 'sallyport.localhost')
  .option('--data-dir <dir>', 'where everything is kept', '.sallyport')
  .option('--ready-file <file>', 'is written when everything answers')
  .action(start)

function toPort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('must be a whole number from 1 to 65535')
  return port
}

function toDomain(text: string): string {
  const domain = text.toLowerCase()
  if (!isHostName(domain) || !domain.includes('.'))
    throw new InvalidArgumentError('must be a DNS name such as sallyport.localhost')
  return domain
}

async function start(options: Options): Promise<void> {
  const dataDir = resolve(options.dataDir)
  checkFolder(dataDir)
  await checkPort(options.port)
  const children: Child[] = []
  let closing = false
  const close = async () => {
    closing = true
    await Promise.all(children.map((child) => child.stop()))
  }
  closeOnSignal(close)
  try {
    await run(options, dataDir, children, () => closing)
  } catch (error) {
    await close()
    throw error
  }
}

async function run(
  options: Options,
  dataDir: string,
  children: Child[],
  isClosing: () => boolean,
): Promise<void> {
  const port = options.port === 443 ? '' : `:${options.port}`
  const url = (name: string) => `https://${name}.${options.domain}${port}/`
  const configFile = join(dataDir, 'sallyport.yaml')
  writeFileSync(
    configFile,
    `baseDomain: ${options.domain}\ndataDir: .\nlisten:\n  address: "127.0.0.1"\n  port: ${options.port}\nlogLevel: warn\n`,
  )
  const facts = await readDemoFacts(dataDir)
  const keep = (child: Child) => {
    children.push(child)
    return child
  }
  const startIntranet = () =>
    startChild(
      {
        name: 'intranet',
        command: process.execPath,
        args: [join(examples, 'intranet/src/main.ts'), '--port', String(facts.ports.intranet)],
      },
      'url',
    ).then(({ child }) => keep(child))
  const startNodeRed = () =>
    startChild(
      {
        name: 'node-red',
        command: process.execPath,
        args: [
          join(examples, 'node-red/src/main.ts'),
          '--port',
          String(facts.ports.nodeRed),
          '--user-dir',
          join(dataDir, 'node-red'),
        ],
      },
      'url',
    ).then(({ child }) => keep(child))
  const samples = Promise.all([startIntranet(), startNodeRed()])
  // A sample that fails is reported below; until then nobody waits for it.
  samples.catch(() => undefined)
  const { child: service } = await startServiceProcess(configFile, {
    onErrorText: (text) => process.stderr.write(text),
  })
  keep(service)
  const execute = controlOf(dataDir)
  await provisionDemo(execute, facts, url, options.domain)
  const stateDir = join(dataDir, 'connector')
  const allow = [`127.0.0.1:${facts.ports.intranet}`, `127.0.0.1:${facts.ports.nodeRed}`]
  if (!isEnrolled(stateDir))
    await enrollConnectorProcess({
      execute,
      service: url('connect').slice(0, -1),
      stateDir,
      name: 'demo-connector',
    })
  writeAllowList(stateDir, allow)
  const startConnector = async () => {
    const child = keep(spawnConnector(stateDir))
    await connectorOnline(stateDir, child)
    return child
  }
  const connector = await startConnector()
  const [intranet, nodeRed] = await samples

  const restart = (name: string, child: Child, again: () => Promise<Child>) => {
    void child.exited.then(async (code) => {
      if (isClosing()) return
      process.stdout.write(`${name} ended (${code ?? 'killed'}); starting it again\n`)
      await delay(500)
      if (isClosing()) return
      again().then(
        (next) => restart(name, next, again),
        (error: unknown) => reportError('npm start', error),
      )
    })
  }
  restart('connector', connector, startConnector)
  restart('intranet', intranet, startIntranet)
  restart('node-red', nodeRed, startNodeRed)
  void service.exited.then(async (code) => {
    if (isClosing()) return
    await Promise.all(children.map((child) => child.stop()))
    reportError(
      'npm start',
      new CommandError(`the service ended (${code ?? 'killed'}): ${service.errorText}`),
    )
  })

  const caFile = join(dataDir, 'web-ca.pem')
  const applications = demoApplications(url, facts)
  const hosts = ['login', 'apps', 'admin', ...applications.map(({ name }) => name)].map(
    (name) => `${name}.${options.domain}`,
  )
  process.stdout.write(
    `
Sallyport is running. Open your applications:

  ${url('apps')}

Sign in as:
${facts.users.map(({ userName, password, note }) => `  ${userName.padEnd(6)} ${password}   ${note}`).join('\n')}

Applications:
${applications.map(({ displayName, externalUrl }) => `  ${displayName.padEnd(10)} ${externalUrl}`).join('\n')}

Your browser warns until it trusts this certificate authority (good for ${options.domain} only):
  ${caFile}

Programs that do not know *.localhost need a line in /etc/hosts:
  127.0.0.1 ${hosts.join(' ')}
or, for curl:
  curl --cacert ${caFile} --resolve intranet.${options.domain}:${options.port}:127.0.0.1 ${url('intranet')}

Everything is kept in ${dataDir}. Ctrl-C ends it.
`,
  )
  if (options.readyFile)
    writeReadyFile(options.readyFile, {
      portal: url('apps'),
      admin: url('admin'),
      apps: applications.map(({ name, externalUrl }) => ({ name, externalUrl })),
      users: facts.users.map(({ userName, password }) => ({ userName, password })),
      caFile,
      pids: {
        service: service.pid,
        connector: connector.pid,
        intranet: intranet.pid,
        nodeRed: nodeRed.pid,
      },
    })
}

/** Whole or not at all: whoever waits for the file reads it the moment it appears. */
function writeReadyFile(file: string, facts: unknown): void {
  writeFileSync(`${file}.part`, `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o600 })
  renameSync(`${file}.part`, file)
}

function checkFolder(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    accessSync(dataDir, constants.W_OK)
  } catch (error) {
    throw new CommandError(
      `--data-dir ${dataDir}: cannot be written (${(error as NodeJS.ErrnoException).code})`,
      'choose a folder of your own',
    )
  }
  if (existsSync(join(dataDir, 'sallyport.db')) && !existsSync(join(dataDir, 'demo.json')))
    throw new CommandError(
      `--data-dir ${dataDir}: belongs to a service that is not a demo`,
      'choose another folder',
    )
}

async function checkPort(port: number): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolvePort, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new CommandError(
          error.code === 'EACCES'
            ? `--port ${port}: this user may not listen on it`
            : `--port ${port}: is in use by another program`,
          'choose another with: npm start -- --port N',
        ),
      ),
    )
    server.listen(port, '127.0.0.1', () => server.close(() => resolvePort()))
  })
}

program.parseAsync().catch((error: unknown) => reportError('npm start', error))
