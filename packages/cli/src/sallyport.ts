#!/usr/bin/env node
import { join } from 'node:path'
import { callControlSocket } from '@sallyport/control'
import { Command } from 'commander'
import { pino } from 'pino'
import { readServiceConfig, type ServiceConfig } from './config.ts'
import { executeOffline } from './offline.ts'
import { CommandError, closeOnSignal, printRows, readStandardInput, reportError } from './output.ts'
import { startService } from './service.ts'

interface Global {
  config: string
  json?: boolean
}

const program = new Command('sallyport')
  .description(
    'Single sign-on access to applications inside, through connectors that only dial out',
  )
  .version('0.1.0')
  .option('-c, --config <file>', 'configuration of the service', 'sallyport.yaml')
  .option('--json', 'print JSON')
  .showHelpAfterError()

function globals(): Global {
  return program.opts<Global>()
}

/** Runs a command in the service, or on its store when it does not run. */
async function execute(name: string, input: unknown): Promise<unknown> {
  const config = readServiceConfig(globals().config)
  const actor = `cli:${process.env.SUDO_USER ?? process.env.USER ?? process.getuid?.() ?? 'unknown'}`
  const socket = join(config.dataDir, 'control.sock')
  const answer = await callControlSocket(socket, name, input, actor)
  return answer.running ? answer.result : await executeOffline(config, name, input, actor)
}

async function list(name: string, input: unknown, empty: string): Promise<void> {
  printRows(
    (await execute(name, input)) as Record<string, unknown>[],
    globals().json === true,
    empty,
  )
}

async function change(
  name: string,
  input: unknown,
  done: (result: never) => string,
): Promise<void> {
  const result = await execute(name, input)
  process.stdout.write(
    globals().json ? `${JSON.stringify(result ?? {}, null, 2)}\n` : `${done(result as never)}\n`,
  )
}

program
  .command('serve')
  .description('run the service')
  .action(async () => {
    const config = readServiceConfig(globals().config)
    const service = await startListening(config)
    closeOnSignal(() => service.close())
    process.stdout.write(
      `${JSON.stringify({ ready: true, port: service.port, plainPort: service.plainPort, pid: process.pid })}\n`,
    )
  })

async function startListening(config: ServiceConfig) {
  const log = pino({ level: config.logLevel }, pino.destination(2))
  process.on('unhandledRejection', (error) => {
    log.fatal({ err: error }, 'unhandled rejection')
    process.exit(1)
  })
  try {
    return await startService(config, log)
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'EADDRINUSE')
      throw new CommandError(
        `port ${config.listen.port} is in use by another program`,
        'stop that program, or set listen.port',
      )
    if (code === 'EACCES')
      throw new CommandError(
        `not allowed: ${(error as Error).message}`,
        'ports below 1024 need CAP_NET_BIND_SERVICE; the data folder must be writable',
      )
    throw error
  }
}

const user = program.command('user').description('people who may sign in')
user
  .command('create <userName>')
  .description('the password is read from standard input')
  .option('--display-name <name>')
  .option('--mail <address>')
  .option('--password-stdin', 'read a password from standard input; without it there is none')
  .action(
    async (
      userName: string,
      options: { displayName?: string; mail?: string; passwordStdin?: boolean },
    ) => {
      const password = options.passwordStdin ? await readStandardInput() : undefined
      await change(
        'user.create',
        {
          userName,
          displayName: options.displayName ?? userName,
          ...(options.mail === undefined ? {} : { mail: options.mail }),
          ...(password === undefined ? {} : { password }),
        },
        ({ id }: { id: string }) => `user ${userName} created (${id})`,
      )
    },
  )
user
  .command('list')
  .action(() => list('user.list', {}, 'There are no users. Create one: sallyport user create NAME'))
user
  .command('set-password <userName>')
  .description('the password is read from standard input; ends every session of the user')
  .action(async (userName: string) =>
    change(
      'user.set-password',
      { userName, password: await readStandardInput() },
      () => `password of ${userName} set`,
    ),
  )
for (const verb of ['disable', 'enable', 'delete'] as const)
  user
    .command(`${verb} <userName>`)
    .action((userName: string) =>
      change(`user.${verb}`, { userName }, () => `user ${userName}: ${verb}d`),
    )

const group = program.command('group').description('groups of users and of groups')
group
  .command('create <name>')
  .action((name: string) => change('group.create', { name }, () => `group ${name} created`))
group
  .command('list')
  .action(() =>
    list('group.list', {}, 'There are no groups. Create one: sallyport group create NAME'),
  )
group
  .command('delete <name>')
  .action((name: string) => change('group.delete', { name }, () => `group ${name} deleted`))
for (const [verb, command] of [
  ['add', 'group.add-member'],
  ['remove', 'group.remove-member'],
] as const)
  group
    .command(`${verb} <group> <member>`)
    .description(`${verb} a user, or with --group a group`)
    .option('--group', 'the member is a group')
    .action((name: string, member: string, options: { group?: boolean }) =>
      change(
        command,
        { group: name, ...(options.group ? { memberGroup: member } : { user: member }) },
        () => `${name}: ${member} ${verb === 'add' ? 'added' : 'removed'}`,
      ),
    )

const app = program.command('app').description('published applications')
app
  .command('create <name>')
  .requiredOption('--external-url <url>', 'what people open, https://…/')
  .requiredOption('--internal-url <url>', 'what the connector requests')
  .option('--display-name <name>')
  .option('--connector-group <name>', 'connectors that reach it', 'default')
  .option('--passthrough', 'no sign-in: everybody may reach it')
  .option('--no-assignment-required', 'everybody who can sign in may use it')
  .option('--host-header <which>', 'internal or external', 'internal')
  .option('--backend-timeout <ms>', 'milliseconds until the origin must begin its answer', Number)
  .option('--no-validate-backend-certificate', 'accept any certificate of the origin')
  .option(
    '--header <name=claim>',
    'sign-on by header: NAME=userName|mail|displayName|objectId|groups|groupIds, or NAME="constant"; repeatable',
    (value: string, all: string[]) => [...all, value],
    [] as string[],
  )
  .action(async (name: string, options: AppOptions) =>
    change(
      'app.create',
      toApplicationInput(name, options),
      ({ id }: { id: string }) => `application ${name} created (${id})`,
    ),
  )
app
  .command('list')
  .action(() =>
    list(
      'app.list',
      {},
      'There are no applications. Publish one: sallyport app create NAME --help',
    ),
  )
app.command('show <name>').action(async (name: string) => {
  process.stdout.write(`${JSON.stringify(await execute('app.show', { name }), null, 2)}\n`)
})
app
  .command('update <name>')
  .description('set fields, given as FIELD=JSON, such as backendTimeoutMs=20000')
  .argument('<field...>')
  .action((name: string, fields: string[]) =>
    change(
      'app.update',
      { name, set: Object.fromEntries(fields.map(parseSetting)) },
      () => `application ${name} updated`,
    ),
  )
app
  .command('delete <name>')
  .action((name: string) => change('app.delete', { name }, () => `application ${name} deleted`))
for (const verb of ['assign', 'unassign'] as const)
  app
    .command(`${verb} <name>`)
    .option('--user <userName>')
    .option('--group <name>')
    .action((name: string, options: { user?: string; group?: string }) =>
      change(
        `app.${verb}`,
        { name, ...options },
        () => `${name}: ${options.user ?? options.group} ${verb}ed`,
      ),
    )

interface AppOptions {
  externalUrl: string
  internalUrl: string
  displayName?: string
  connectorGroup: string
  passthrough?: boolean
  assignmentRequired: boolean
  hostHeader: string
  backendTimeout?: number
  validateBackendCertificate: boolean
  header: string[]
}

function toApplicationInput(name: string, options: AppOptions): Record<string, unknown> {
  return {
    name,
    displayName: options.displayName ?? name,
    externalUrl: options.externalUrl,
    internalUrl: options.internalUrl,
    connectorGroup: options.connectorGroup,
    preAuthentication: options.passthrough ? 'passthrough' : 'identity',
    assignmentRequired: options.assignmentRequired,
    hostHeader: options.hostHeader,
    validateBackendCertificate: options.validateBackendCertificate,
    ...(options.backendTimeout === undefined ? {} : { backendTimeoutMs: options.backendTimeout }),
    ...(options.header.length === 0
      ? {}
      : { signOn: { method: 'headers', headers: options.header.map(parseHeader) } }),
  }
}

function parseHeader(text: string): Record<string, string> {
  const equals = text.indexOf('=')
  if (equals <= 0)
    throw new CommandError(
      `--header ${text}: has no =`,
      'write it as NAME=claim or NAME="constant"',
    )
  const name = text.slice(0, equals)
  const source = text.slice(equals + 1)
  const constant = /^"(.*)"$/.exec(source)
  return constant ? { name, value: constant[1]! } : { name, claim: source }
}

function parseSetting(text: string): [string, unknown] {
  const equals = text.indexOf('=')
  if (equals <= 0) throw new CommandError(`${text}: has no =`, 'write it as FIELD=JSON')
  const value = text.slice(equals + 1)
  try {
    return [text.slice(0, equals), JSON.parse(value)]
  } catch {
    // A bare word is a string: nobody wants to quote quotes for a shell.
    return [text.slice(0, equals), value]
  }
}

const connectorGroup = program
  .command('connector-group')
  .description('groups of interchangeable connectors')
connectorGroup
  .command('create <name>')
  .action((name: string) =>
    change('connector-group.create', { name }, () => `connector group ${name} created`),
  )
connectorGroup
  .command('list')
  .action(() => list('connector-group.list', {}, 'There are no connector groups.'))
connectorGroup
  .command('delete <name>')
  .action((name: string) =>
    change('connector-group.delete', { name }, () => `connector group ${name} deleted`),
  )

const connector = program.command('connector').description('enrolled connectors')
connector
  .command('list')
  .action(() =>
    list('connector.list', {}, 'There are no connectors. Make a token: sallyport token create'),
  )
connector
  .command('revoke <name>')
  .description('by name or ID; its tunnels close at once and it can never come back')
  .action((name: string) =>
    change('connector.revoke', { connector: name }, () => `connector ${name} revoked`),
  )

const token = program.command('token').description('one-time tokens by which connectors enrol')
token
  .command('create')
  .description('prints the token once; it is good for one connector and one hour')
  .option('--connector-group <name>', 'group that the connector joins', 'default')
  .option('--minutes <n>', 'how long it is good', Number, 60)
  .action((options: { connectorGroup: string; minutes: number }) =>
    change(
      'token.create',
      { connectorGroup: options.connectorGroup, lifetimeMs: options.minutes * 60_000 },
      ({ token: text }: { token: string }) => text,
    ),
  )

const session = program.command('session').description('who is signed in')
session.command('list').action(() => list('session.list', {}, 'Nobody is signed in.'))
session
  .command('end <id>')
  .action((id: string) => change('session.end', { sessionId: id }, () => `session ${id} ended`))

program
  .command('status')
  .description('what the running service is doing')
  .action(async () => {
    process.stdout.write(`${JSON.stringify(await execute('status', {}), null, 2)}\n`)
  })

program.parseAsync().catch((error: unknown) => reportError('sallyport', error))
