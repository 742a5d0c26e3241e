#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import {
  enroll,
  parseProxyUrl,
  privateRules,
  readStatus,
  startConnector,
} from '@sallyport/connector'
import { Command } from 'commander'
import { pino } from 'pino'
import { CommandError, closeOnSignal, readStandardInput, reportError } from './output.ts'
import { freeWhatWasRead } from './young-garbage.ts'

const defaultStateDir = '/var/lib/sallyport-connector'

const program = new Command('sallyport-connector')
  .description(
    'Connects applications inside to a Sallyport service. Only dials out; listens nowhere.',
  )
  .version('0.1.0')
  .option('--state-dir <dir>', 'key, certificate and settings of this connector', defaultStateDir)
  .showHelpAfterError()

function stateDir(): string {
  return program.opts<{ stateDir: string }>().stateDir
}

function collect(value: string, all: string[]): string[] {
  return [...all, value]
}

interface EnrolOptions {
  service: string
  tokenFile: string
  allow: string[]
  allowPrivate?: boolean
  name: string
  proxy?: string
  proxyFile?: string
  originProxy?: string
  originCa?: string
}

program
  .command('enroll')
  .description('join a service by a one-time token: makes a key here, fetches a certificate for it')
  .requiredOption('--service <url>', 'such as https://connect.example.com')
  .requiredOption('--token-file <file>', 'file that holds the token; - reads standard input')
  .option(
    '--allow <rule>',
    'HOST:PORT, *.SUFFIX:PORT, ADDRESS or CIDR[:PORT] that may be reached; repeatable',
    collect,
    [],
  )
  .option('--allow-private', 'allow all private addresses (RFC 1918, RFC 4193)')
  .option('--name <name>', 'how the connector is listed', hostname())
  .option('--proxy <url>', 'HTTP proxy on the way out, http://host:port')
  .option('--proxy-file <file>', 'file that holds the URL of the proxy with user name and password')
  .option('--origin-proxy <url>', 'HTTP proxy towards the applications')
  .option(
    '--origin-ca <file>',
    'PEM file of a private authority that signs certificates of applications',
  )
  .action(async (options: EnrolOptions) => {
    const token =
      options.tokenFile === '-'
        ? await readStandardInput()
        : readText(options.tokenFile, '--token-file')
    const proxy = options.proxyFile ? readText(options.proxyFile, '--proxy-file') : options.proxy
    if (options.proxy && parseProxyUrl(options.proxy).password !== '')
      throw new CommandError(
        '--proxy: holds a password, which every user of this machine could read',
        'write the URL into a file and give it with --proxy-file',
      )
    const allow = [...options.allow, ...(options.allowPrivate ? privateRules : [])]
    const { connectorId, connectorGroup } = await enroll({
      service: new URL(options.service),
      token,
      stateDir: stateDir(),
      name: options.name,
      allow,
      ...(proxy ? { proxy: parseProxyUrl(proxy) } : {}),
      ...(options.originProxy ? { originProxy: parseProxyUrl(options.originProxy) } : {}),
      ...(options.originCa ? { originCaFile: resolve(options.originCa) } : {}),
    })
    process.stdout.write(
      `enrolled as ${options.name} (${connectorId}) in group ${connectorGroup}\n`,
    )
    if (allow.length === 0)
      process.stderr.write(
        'sallyport-connector: nothing may be reached yet; enroll again with --allow HOST:PORT, or add it to connector.json\n',
      )
  })

program
  .command('run')
  .description('keep the tunnels up and carry requests')
  .option('--log-level <level>', 'trace, debug, info, warn, error or silent', 'info')
  .option('--tunnels <n>', 'connections to each gateway', Number, 2)
  .action(async (options: { logLevel: string; tunnels: number }) => {
    const log = pino({ level: options.logLevel }, pino.destination(2))
    const connector = await startConnector({
      stateDir: stateDir(),
      tunnels: options.tunnels,
      log,
      onSocket: freeWhatWasRead,
    })
    closeOnSignal(() => connector.close())
    await connector.closed
  })

program
  .command('status')
  .description('ask the connector that runs here')
  .action(async () => {
    process.stdout.write(`${JSON.stringify(await readStatus(stateDir()), null, 2)}\n`)
  })

function readText(file: string, option: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new CommandError(`${option} ${file}: ${(error as Error).message}`)
  }
}

program.parseAsync().catch((error: unknown) => reportError('sallyport-connector', error))
