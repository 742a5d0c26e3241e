import { applicationSchema, linkedApplicationSchema, loginMappings } from '@sallyport/domain'
import { type Command, Option } from 'commander'
import type { Administration } from '../administration.ts'
import { each, toHeader, toInteger, toSetting } from '../arguments.ts'
import { CommandError } from '../failure.ts'
import { addOidcCommands } from './oidc.ts'
import { addSamlCommands } from './saml.ts'

const dayMs = 86_400_000

interface CreationOptions {
  externalUrl?: string
  internalUrl?: string
  linked?: string
  displayName?: string
  connectorGroup: string
  passthrough?: boolean
  assignmentRequired: boolean
  hostHeader: string
  backendTimeout?: number
  validateBackendCertificate: boolean
  header?: Record<string, unknown>[]
  kerberos?: string
  kerberosLogin?: string
  jwtAssertion?: boolean
  set?: [field: string, value: unknown][]
}

export function addApplicationCommands(program: Command, administration: Administration): void {
  const app = program.command('app').description('published applications')
  app
    .command('create <name>')
    .description('publish an application')
    .option('--external-url <url>', 'what people open, https://.../')
    .option('--internal-url <url>', 'what the connector requests')
    .addOption(
      new Option(
        '--linked <url>',
        'publish nothing: a tile that leads to an application elsewhere, by any https or http URL',
      ).conflicts([
        'externalUrl',
        'internalUrl',
        'passthrough',
        'backendTimeout',
        'header',
        'kerberos',
        'kerberosLogin',
        'jwtAssertion',
      ]),
    )
    .option('--display-name <name>', 'what people read (default: the name)')
    .option('--connector-group <name>', 'connectors that reach it', 'default')
    .option('--passthrough', 'no sign-in: everybody may reach it')
    .option('--no-assignment-required', 'everybody who can sign in may use it')
    .option('--host-header <which>', 'internal or external', 'internal')
    .option(
      '--backend-timeout <ms>',
      'milliseconds until the origin must begin its answer',
      toInteger(1, dayMs),
    )
    .option('--no-validate-backend-certificate', 'accept any certificate of the origin')
    .option(
      '--header <name=claim>',
      'sign-on by header: NAME=CLAIM with CLAIM userName, mail, displayName, objectId, groups or groupIds, and transforms behind it (mail|extractMailPrefix); or NAME="constant"; repeatable',
      each(toHeader),
    )
    .option('--kerberos <spn>', 'sign-on by Kerberos to this SPN, such as HTTP/hr.corp.example')
    .option(
      '--kerberos-login <attribute>',
      `by which name the domain knows people: ${loginMappings.filter((name) => name !== 'expression').join(', ')}`,
    )
    .option('--jwt-assertion', 'send a signed token that says who the person is')
    .option(
      '--set <field=value>',
      'any other field, as in "app update"; repeatable',
      each(toSetting),
    )
    .action((name: string, options: CreationOptions, command: Command) => {
      checkUrls(options, command)
      return administration.change<{ id: string }>(
        options.linked === undefined ? 'app.create' : 'app.create-linked',
        options.linked === undefined
          ? toApplicationInput(name, options)
          : toLinkInput(name, options.linked, options),
        ({ id }) => `application ${name} created (${id})`,
      )
    })
  app
    .command('list')
    .description('all applications by name')
    .action(() =>
      administration.list(
        'app.list',
        {},
        [
          'name',
          'displayName',
          'externalUrl',
          'internalUrl',
          'linkedUrl',
          'preAuthentication',
          'connectorGroup',
          'users',
          'groups',
        ],
        'There are no applications. Publish one, see: sallyport app create --help',
      ),
    )
  app
    .command('show <name>')
    .description('one application with every field, as JSON')
    .action((name: string) => administration.show('app.show', { name }))
  app
    .command('update <name>')
    .description('set fields of an application')
    .argument(
      '<field=value...>',
      'such as backendTimeoutMs=20000; null sets a field back to its default',
      each(toSetting),
    )
    .addHelpText('after', describeFields)
    .action((name: string, fields: [string, unknown][]) =>
      administration.change(
        'app.update',
        { name, set: Object.fromEntries(fields) },
        () => `application ${name} updated`,
      ),
    )
  app
    .command('delete <name>')
    .description('remove an application with its assignments')
    .action((name: string) =>
      administration.change('app.delete', { name }, () => `application ${name} deleted`),
    )
  for (const [verb, what] of [
    ['assign', 'let a user or a group use it'],
    ['unassign', 'take it from a user or a group'],
  ] as const)
    app
      .command(`${verb} <name>`)
      .description(what)
      .option('--user <userName>')
      .option('--group <name>')
      .action((name: string, options: { user?: string; group?: string }) =>
        administration.change(
          `app.${verb}`,
          { name, ...options },
          () => `${name}: ${options.user ?? options.group} ${verb}ed`,
        ),
      )
  addSamlCommands(app, administration)
  addOidcCommands(app, administration)
}

/** Every field that can be set, by the schemas that check them. */
function describeFields(): string {
  const { linkedUrl } = linkedApplicationSchema.shape
  const fields = Object.entries({ ...applicationSchema.shape, linkedUrl }).filter(
    ([name]) => name !== 'id',
  )
  const width = Math.max(...fields.map(([name]) => name.length))
  const lines = fields.map(([name, schema]) => `  ${name.padEnd(width)}  ${schema.description}`)
  return `\nFields:\n${lines.join('\n')}\n\nA linked application has name, displayName, linkedUrl, assignmentRequired and visible.`
}

/** As commander says it of options that are always required. */
function checkUrls({ linked, externalUrl, internalUrl }: CreationOptions, command: Command): void {
  if (linked !== undefined) return
  for (const [flags, value] of [
    ['--external-url <url>', externalUrl],
    ['--internal-url <url>', internalUrl],
  ])
    if (value === undefined)
      command.error(`error: required option '${flags}' not specified, nor --linked <url>`)
}

function toLinkInput(
  name: string,
  linkedUrl: string,
  { displayName = name, assignmentRequired, set = [] }: CreationOptions,
): Record<string, unknown> {
  return { name, displayName, linkedUrl, assignmentRequired, ...Object.fromEntries(set) }
}

function toApplicationInput(name: string, options: CreationOptions): Record<string, unknown> {
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
    ...toSignOn(options),
    ...(options.jwtAssertion === undefined ? {} : { jwtAssertion: options.jwtAssertion }),
    ...Object.fromEntries(options.set ?? []),
  }
}

function toSignOn({ header, kerberos, kerberosLogin }: CreationOptions): Record<string, unknown> {
  if (header !== undefined && kerberos !== undefined)
    throw new CommandError('--header and --kerberos: an application has one way of sign-on')
  if (kerberosLogin !== undefined && kerberos === undefined)
    throw new CommandError('--kerberos-login needs --kerberos')
  if (header !== undefined) return { signOn: { method: 'headers', headers: header } }
  if (kerberos === undefined) return {}
  return {
    signOn: {
      method: 'kerberos',
      kerberosServicePrincipalName: kerberos,
      ...(kerberosLogin === undefined ? {} : { kerberosSignOnMappingAttributeType: kerberosLogin }),
    },
  }
}
