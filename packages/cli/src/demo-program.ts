import { accessSync, constants, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isEnrolled } from '@sallyport/connector'
import { isHostName } from '@sallyport/domain'
import { Command, InvalidArgumentError } from 'commander'
import { explainUsage, toInteger } from './arguments.ts'
import { type Child, startChild } from './child.ts'
import { parseServiceConfig } from './config.ts'
import { type DemoFacts, demoApplications, provisionDemo, readDemoFacts } from './demo.ts'
import { prepareDemoFolder } from './demo-folder.ts'
import {
  changeConnectorSettings,
  connectorOnline,
  controlOf,
  enrollConnectorProcess,
  spawnConnector,
  startServiceProcess,
} from './demo-processes.ts'
import { CommandError, describeError, reportError } from './failure.ts'
import { closeOnSignal } from './signals.ts'

interface Options {
  port: number
  domain: string
  dataDir: string
  readyFile?: string
}

const name = 'npm start --'
const restartAfterMs = 500
const examples = join(import.meta.dirname, '../../../examples')

const program = new Command(name)
  .description(
    'Runs a whole Sallyport on this machine: service, connector and two sample applications',
  )
  .option('--port <n>', 'TLS port', toInteger(1, 65_535), 8443)
  .option('--domain <name>', 'base domain', toDomain, 'sallyport.localhost')
  .option('--data-dir <dir>', 'where everything is kept', '.sallyport')
  .option('--ready-file <file>', 'is written when everything answers')
  .action(start)

function toDomain(text: string): string {
  const domain = text.toLowerCase()
  if (!isHostName(domain) || !domain.includes('.'))
    throw new InvalidArgumentError('must be a DNS name such as sallyport.localhost')
  return domain
}

async function start(options: Options): Promise<void> {
  const demo = new Demo(options)
  closeOnSignal('npm start', () => demo.close())
  try {
    await demo.start()
  } catch (error) {
    await demo.fail(error)
  }
}

/** The processes of the demo, and what they were started with. */
class Demo {
  readonly #options: Options
  readonly #dataDir: string
  /** By name; one that is started again takes the place of the one before. */
  readonly #children = new Map<string, Child>()
  #closing = false

  constructor(options: Options) {
    this.#options = options
    this.#dataDir = resolve(options.dataDir)
  }

  async start(): Promise<void> {
    const { port, domain, readyFile } = this.#options
    const dataDir = this.#dataDir
    const configFile = join(dataDir, 'sallyport.yaml')
    const yaml = `baseDomain: ${domain}\ndataDir: .\nlisten:\n  address: "127.0.0.1"\n  port: ${port}\nlogLevel: warn\n`
    checkReadyFile(readyFile)
    await prepareDemoFolder(configFile, { ...parseServiceConfig(yaml), dataDir })
    await checkPort(port)
    writeFileSync(configFile, yaml)
    const facts = await readDemoFacts(dataDir)

    const samples = Promise.all([
      this.#startSample('intranet', facts.ports.intranet),
      this.#startSample('node-red', facts.ports.nodeRed, '--user-dir', join(dataDir, 'node-red')),
    ])
    // One that fails is reported below; until then nobody waits for it.
    samples.catch(() => undefined)
    await this.#startService(configFile)
    await Promise.all([
      provisionDemo(controlOf(dataDir), facts, (host) => this.#url(host), domain),
      this.#startConnector(facts),
    ])
    await samples
    process.stdout.write(this.#welcome(facts))
    if (readyFile) writeReadyFile(readyFile, this.#readyFacts(facts))
  }

  async close(): Promise<void> {
    this.#closing = true
    await Promise.all([...this.#children.values()].map((child) => child.stop()))
  }

  /** Ends everything, and says why. */
  async fail(error: unknown): Promise<void> {
    if (this.#closing) return
    await this.close()
    reportError('npm start', error)
  }

  #url(host: string): string {
    const { domain, port } = this.#options
    return `https://${host}.${domain}${port === 443 ? '' : `:${port}`}/`
  }

  async #startService(configFile: string): Promise<void> {
    let started = false
    const { child } = await startServiceProcess(
      configFile,
      {
        // What it says before it listens is why it does not, and stands in the error.
        onErrorText: (text) => {
          if (started) process.stderr.write(text)
        },
      },
      (child) => this.#keep('service', child),
    )
    started = true
    void child.explainEnd().then((error) => this.fail(error))
  }

  async #startConnector(facts: DemoFacts): Promise<void> {
    const stateDir = join(this.#dataDir, 'connector')
    const service = this.#url('connect').slice(0, -1)
    if (!isEnrolled(stateDir))
      await enrollConnectorProcess({
        execute: controlOf(this.#dataDir),
        service,
        stateDir,
        name: 'demo-connector',
      })
    const { intranet, nodeRed } = facts.ports
    const allow = [`127.0.0.1:${intranet}`, `127.0.0.1:${nodeRed}`]
    changeConnectorSettings(stateDir, { service, allow })
    await this.#startAgain('connector', async () => {
      const child = spawnConnector(stateDir)
      this.#keep('connector', child)
      await connectorOnline(stateDir, child)
      return child
    })
  }

  async #startSample(name: string, port: number, ...args: string[]): Promise<void> {
    let leftOver: number | undefined
    await this.#startAgain(name, async () => {
      // Node-RED is a child of its own; whoever kills what started it leaves it on its port.
      if (leftOver !== undefined) killIfThere(leftOver)
      const { child, ready } = await startChild(
        {
          name,
          command: process.execPath,
          args: [join(examples, name, 'src/main.ts'), '--port', String(port), ...args],
        },
        'url',
        (child) => this.#keep(name, child),
      )
      leftOver = typeof ready.pid === 'number' ? ready.pid : undefined
      return child
    })
  }

  #keep(name: string, child: Child): void {
    this.#children.set(name, child)
    // Whoever ended everything did not know of this one.
    if (this.#closing) void child.stop()
  }

  /** Starts a child now, and whenever it has ended. Only the first start may fail. */
  async #startAgain(name: string, start: () => Promise<Child>): Promise<void> {
    const watch = (child: Child) => void child.exited.then(restart)
    const restart = async (code: number | null) => {
      if (this.#closing) return
      process.stdout.write(`${name} ended (${code ?? 'killed'}); starting it again\n`)
      await delay(restartAfterMs)
      while (!this.#closing) {
        try {
          return watch(await start())
        } catch (error) {
          if (this.#closing) return
          process.stdout.write(`${name} cannot be started: ${describeError(error)[0]}\n`)
          await this.#children.get(name)?.stop()
          await delay(restartAfterMs)
        }
      }
    }
    watch(await start())
  }

  #welcome(facts: DemoFacts): string {
    const { domain, port } = this.#options
    const applications = this.#applications(facts)
    const caFile = join(this.#dataDir, 'web-ca.pem')
    const hosts = ['login', 'apps', 'admin', ...applications.map(({ name }) => name)].map(
      (host) => `${host}.${domain}`,
    )
    const people = facts.users.map(
      ({ userName, password, note }) => `  ${userName.padEnd(6)} ${password}   ${note}`,
    )
    return `
Sallyport is running. Open your applications:

  ${this.#url('apps')}

Sign in as:
${people.join('\n')}

Applications:
${applications.map(({ displayName, externalUrl }) => `  ${displayName.padEnd(10)} ${externalUrl}`).join('\n')}

Your browser warns until it trusts this certificate authority (good for ${domain} only):
  ${caFile}

Programs that do not know *.localhost need a line in /etc/hosts:
  127.0.0.1 ${hosts.join(' ')}
or, for curl:
  curl --cacert ${caFile} --resolve intranet.${domain}:${port}:127.0.0.1 ${this.#url('intranet')}

Everything is kept in ${this.#dataDir}. Ctrl-C ends it.
`
  }

  #readyFacts(facts: DemoFacts): unknown {
    const pid = (name: string) => this.#children.get(name)!.pid
    return {
      portal: this.#url('apps'),
      admin: this.#url('admin'),
      apps: this.#applications(facts).map(({ name, externalUrl }) => ({ name, externalUrl })),
      users: facts.users.map(({ userName, password }) => ({ userName, password })),
      caFile: join(this.#dataDir, 'web-ca.pem'),
      pids: {
        service: pid('service'),
        connector: pid('connector'),
        intranet: pid('intranet'),
        nodeRed: pid('node-red'),
      },
    }
  }

  #applications(facts: DemoFacts) {
    return demoApplications((host) => this.#url(host), facts)
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Whole or not at all: whoever waits for the file reads it the moment it appears. */
function writeReadyFile(file: string, facts: unknown): void {
  writeFileSync(`${file}.part`, `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o600 })
  renameSync(`${file}.part`, file)
}

/** Before anything is started: nobody wants to hear of it at the end. */
function checkReadyFile(file: string | undefined): void {
  if (file === undefined) return
  try {
    accessSync(dirname(resolve(file)), constants.W_OK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CommandError(`--ready-file: ${file} cannot be written (${code})`)
  }
}

async function checkPort(port: number): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolvePort, reject) => {
    server.once('error', ({ code }: NodeJS.ErrnoException) =>
      reject(
        new CommandError(
          code === 'EACCES'
            ? `--port ${port}: this user may not listen on it`
            : `--port ${port}: is in use by another program`,
          'choose another with: npm start -- --port N',
        ),
      ),
    )
    server.listen(port, '127.0.0.1', () => server.close(() => resolvePort()))
  })
}

explainUsage(program)
program.parseAsync().catch((error: unknown) => reportError('npm start', error))
