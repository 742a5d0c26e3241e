#!/usr/bin/env -S node --no-allocation-site-pretenuring --min-semi-space-size=16 --max-semi-space-size=16
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  type ConfiguredCheck,
  checkKerberosSignOn,
  enroll,
  type KerberosCheckTarget,
  type KerberosStep,
  parseProxyUrl,
  privateRules,
  readSealingKeyFingerprint,
  readState,
  readStatus,
  resealFor,
  startConnector,
} from '@sallyport/connector'
import { Command, InvalidArgumentError, Option } from 'commander'
import { pino } from 'pino'
import { each, explainUsage, toInteger } from './arguments.ts'
import { CommandError, exitCodes, reportError } from './failure.ts'
import { makeFolder } from './folders.ts'
import { printLine, toJson, toPrintable } from './output.ts'
import { tellReady } from './readiness.ts'
import { closeOnSignal } from './signals.ts'
import { readSecret } from './standard-input.ts'
import { describeConnector } from './status.ts'
import { version } from './version.ts'
import { freeWhatWasRead } from './young-garbage.ts'

const defaultStateDir = '/var/lib/sallyport-connector'

const program = new Command('sallyport-connector')
  .description(
    'Connects applications inside to a Sallyport service. Only dials out; listens nowhere.',
  )
  .version(version)
  .option('--state-dir <dir>', 'key, certificate and settings of this connector', defaultStateDir)

function stateDir(): string {
  return resolve(program.opts<{ stateDir: string }>().stateDir)
}

interface EnrolOptions {
  service: URL
  tokenFile: string
  allow?: string[]
  allowPrivate?: boolean
  name?: string
  proxy?: URL
  proxyFile?: string
  originProxy?: URL
  originProxyFile?: string
  originCa?: string
}

program
  .command('enroll')
  .description('join a service by a one-time token: makes a key here, fetches a certificate for it')
  .requiredOption('--service <url>', 'such as https://connect.example.com', toServiceUrl)
  .requiredOption('--token-file <file>', 'file that holds the token; - reads standard input')
  .option(
    '--allow <rule>',
    'HOST:PORT, *.SUFFIX:PORT, ADDRESS or CIDR[:PORT] that may be reached; repeatable',
    each(String),
  )
  .option('--allow-private', 'allow all private addresses (RFC 1918, RFC 4193)')
  .option('--name <name>', "how the connector is listed (default: this machine's name)")
  .option('--proxy <url>', 'HTTP proxy on the way out, http://host:port', toProxyUrl)
  .option('--proxy-file <file>', 'file that holds the URL of the proxy with user name and password')
  .option('--origin-proxy <url>', 'HTTP proxy towards the applications', toProxyUrl)
  .option('--origin-proxy-file <file>', 'file that holds that URL with user name and password')
  .option(
    '--origin-ca <file>',
    'PEM file of a private authority that signs certificates of applications',
  )
  .action(async (options: EnrolOptions) => {
    const dir = stateDir()
    makeFolder(dir, '--state-dir')
    const token =
      options.tokenFile === '-'
        ? await readSecret('Token')
        : readText(options.tokenFile, '--token-file')
    const proxy = options.proxyFile
      ? parseProxyUrl(readText(options.proxyFile, '--proxy-file'))
      : options.proxy
    const originProxy = options.originProxyFile
      ? parseProxyUrl(readText(options.originProxyFile, '--origin-proxy-file'))
      : options.originProxy
    const allow = [...(options.allow ?? []), ...(options.allowPrivate ? privateRules : [])]
    const { connectorId, connectorGroup, sealingKeyFingerprint } = await enroll({
      service: options.service,
      token,
      stateDir: dir,
      allow,
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(proxy ? { proxy } : {}),
      ...(originProxy ? { originProxy } : {}),
      ...(options.originCa ? { originCaFile: resolve(options.originCa) } : {}),
    })
    const { name } = readState(dir).settings
    printLine(toPrintable(`enrolled as ${name} (${connectorId}) in group ${connectorGroup}`))
    printLine(`fingerprint of the key for passwords: ${sealingKeyFingerprint}`)
    if (allow.length === 0)
      process.stderr.write(
        `sallyport-connector: nothing may be reached yet; add rules to "allow" in ${dir}/connector.json\n`,
      )
  })

program
  .command('run')
  .description('keep the tunnels up and carry requests')
  .addOption(
    new Option('--log-level <level>', 'how much to say')
      .choices(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
      .default('info'),
  )
  .option('--tunnels <n>', 'connections to each gateway', toInteger(1, 64), 2)
  .action(async (options: { logLevel: string; tunnels: number }) => {
    const log = pino({ level: options.logLevel }, pino.destination(2))
    let isReady = false
    const connector = await startConnector({
      stateDir: stateDir(),
      tunnels: options.tunnels,
      log,
      onRead: freeWhatWasRead,
      // Whoever started it and looks then sees tunnels, or why there are none.
      onStateChange: ({ tunnels }) => {
        if (isReady || !tunnels.every(({ state }) => state === 'connected' || state === 'waiting'))
          return
        isReady = true
        tellReady(log)
      },
    })
    closeOnSignal('sallyport-connector', () => connector.close())
    await connector.closed
  })

program
  .command('status')
  .description('whether the connector here has its tunnels, and if not, why')
  .option('--json', 'print everything, as JSON')
  .addOption(
    new Option('--metrics', 'print numbers in the text format of Prometheus instead').conflicts(
      'json',
    ),
  )
  .action(async (options: { json?: boolean; metrics?: boolean }) => {
    const status = await readStatus(stateDir())
    if (!options.metrics)
      return printLine(options.json ? toJson(status) : describeConnector(status))
    const { toConnectorMetrics } = await import('./metrics/connector.ts')
    process.stdout.write(await toConnectorMetrics(status))
  })

program
  .command('fingerprint')
  .description('of the key that passwords are sealed to, for "sallyport connector trust-key"')
  .action(() => printLine(readSealingKeyFingerprint(stateDir())))

program
  .command('trust-key <fingerprint>')
  .description(
    'let another connector of the group open the passwords that this one can; compare the fingerprint with what "sallyport-connector fingerprint" prints on its machine',
  )
  .action(async (fingerprint: string) => {
    const log = pino({ level: 'warn' }, pino.destination(2))
    const { name, added } = await resealFor({ stateDir: stateDir(), fingerprint, log })
    printLine(toPrintable(`connector ${name} can open ${added} passwords more`))
  })

interface CheckOptions {
  app?: string
  label?: string
  spn?: string
  user: string
  realm?: string
  url?: URL
  tokenFormat?: 'spnego' | 'kerberos'
  validateBackendCertificate: boolean
  json?: boolean
}

program
  .command('kerberos-check')
  .description(
    'walk the chain of a sign-on by Kerberos, and say which step fails and what to do about it',
  )
  .option('--app <name>', 'application as the service has it; it says the rest')
  .option('--label <label>', 'with --app: what stands for the * of its internal URL')
  .option('--spn <spn>', 'instead of --app: of the application, such as HTTP/hr.corp.example')
  .requiredOption(
    '--user <name>',
    'with --app: as the person signs in; with --spn: sAMAccountName, or userPrincipalName, in the domain',
  )
  .option('--realm <realm>', "with --spn: of the user (default: that of the connector's account)")
  .option(
    '--url <url>',
    'with --spn: internal URL of the application, to ask it for one page',
    toUrl,
  )
  .addOption(
    new Option(
      '--token-format <format>',
      'with --spn: as of the application (default: spnego)',
    ).choices(['spnego', 'kerberos']),
  )
  .option(
    '--no-validate-backend-certificate',
    "with --spn: accept any certificate of the application's",
  )
  .option('--json', 'print the steps as JSON, one a line')
  .addHelpText(
    'after',
    `
Examples:
  $ sallyport-connector kerberos-check --app hr --user ana@example.com
  $ sallyport-connector kerberos-check --spn HTTP/hr.corp.example --user alindqvist --url https://hr.corp.example/`,
  )
  .action(async (options: CheckOptions) => {
    const log = pino({ level: 'warn' }, pino.destination(2))
    for await (const step of checkKerberosSignOn(stateDir(), toCheck(options), log)) {
      printLine(options.json ? JSON.stringify(step) : describeStep(step))
      if (!step.ok) process.exitCode = exitCodes.failed
    }
  })

function toCheck(options: CheckOptions): KerberosCheckTarget | ConfiguredCheck {
  const { app, label, spn, user, realm, url, tokenFormat, validateBackendCertificate } = options
  if ((app === undefined) === (spn === undefined))
    throw new CommandError(
      'name either an application of the service, or what to try',
      'kerberos-check --app NAME --user NAME, or kerberos-check --spn SPN --user NAME [--url URL]',
    )
  if (app !== undefined) {
    if (realm !== undefined || url || tokenFormat || !validateBackendCertificate)
      throw new CommandError(
        'with --app the service says realm, URL, token format and whether certificates are checked',
        'leave --realm, --url, --token-format and --no-validate-backend-certificate out, or use --spn',
      )
    return { application: app, userName: user, label }
  }
  if (label !== undefined) throw new CommandError('--label needs --app', 'name the SPN in full')
  return {
    spn: spn!,
    user: {
      type: user.includes('@') ? 'enterprise' : 'principal',
      name: user,
      ...(realm === undefined ? {} : { realm }),
    },
    format: tokenFormat ?? 'spnego',
    url,
    validate: validateBackendCertificate,
  }
}

function describeStep({ step, ok, message, code, remedy }: KerberosStep): string {
  const lines = [
    `${ok ? 'ok     ' : 'FAILED '} ${step.padEnd(11)} ${code ? `${code}: ` : ''}${message}`,
  ]
  if (remedy) lines.push(`        ${''.padEnd(11)} ${remedy}`)
  return lines.map(toPrintable).join('\n')
}

function toUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:')
    throw new InvalidArgumentError('must be a URL such as https://hr.corp.example/')
  return url
}

function toServiceUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'https:')
    throw new InvalidArgumentError('must be an https:// URL such as https://connect.example.com')
  if (url.username || url.password || url.pathname !== '/' || url.search || url.hash)
    throw new InvalidArgumentError('must hold a host, perhaps a port, and nothing else')
  return url
}

/** Without a password: arguments are no place for one. */
function toProxyUrl(text: string): URL {
  const url = parseProxyUrl(text)
  if (url.password !== '')
    throw new CommandError(
      'the URL of a proxy holds a password, which every user of this machine could read here',
      'write the URL into a file, and name that with --proxy-file or --origin-proxy-file',
    )
  return url
}

function readText(file: string, option: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new CommandError(
      `${option}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    )
  }
}

explainUsage(program)
program.parseAsync().catch((error: unknown) => reportError('sallyport-connector', error))
