import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { toInteger } from '../arguments.ts'

const dayMinutes = 1_440

export function addConnectorCommands(program: Command, administration: Administration): void {
  const group = program
    .command('connector-group')
    .description('groups of interchangeable connectors')
  group
    .command('create <name>')
    .description('add a connector group')
    .action((name: string) =>
      administration.change(
        'connector-group.create',
        { name },
        () => `connector group ${name} created`,
      ),
    )
  group
    .command('list')
    .description('all connector groups by name')
    .action(() =>
      administration.list(
        'connector-group.list',
        {},
        ['name', 'connectors', 'online', 'id'],
        'There are no connector groups. Create one: sallyport connector-group create NAME',
      ),
    )
  group
    .command('delete <name>')
    .description('remove a connector group that nothing uses')
    .action((name: string) =>
      administration.change(
        'connector-group.delete',
        { name },
        () => `connector group ${name} deleted`,
      ),
    )

  const connector = program.command('connector').description('enrolled connectors')
  connector
    .command('list')
    .description('all connectors by name, and whether they are online')
    .action(() =>
      administration.list(
        'connector.list',
        {},
        [
          'name',
          'connectorGroup',
          'status',
          'tunnels',
          'lastSeenAt',
          'certificateNotAfterAt',
          'id',
        ],
        'There are no connectors. Let one in: sallyport token create',
      ),
    )
  connector
    .command('show <connector>')
    .description('one connector in force, by name or ID, as JSON')
    .action((name: string) => administration.show('connector.show', { connector: name }))
  connector
    .command('move <connector>')
    .description('put a connector into another group; what is under way goes on')
    .requiredOption('--connector-group <name>', 'the group to put it into')
    .action((name: string, options: { connectorGroup: string }) =>
      administration.change(
        'connector.move',
        { connector: name, ...options },
        () => `connector ${name} moved to ${options.connectorGroup}`,
      ),
    )
  connector
    .command('revoke <connector>')
    .description('by name or ID; its tunnels close at once and it can never come back')
    .action((name: string) =>
      administration.change(
        'connector.revoke',
        { connector: name },
        ({ lostPasswords }: { lostPasswords: number }) =>
          lostPasswords === 0
            ? `connector ${name} revoked`
            : `connector ${name} revoked; ${lostPasswords} passwords that only it could open are lost, and have to be entered again`,
      ),
    )
  connector
    .command('trust-key <connector> <fingerprint>')
    .description(
      'let passwords be sealed to a connector; compare the fingerprint with what "sallyport-connector fingerprint" prints on its machine',
    )
    .action((name: string, fingerprint: string) =>
      administration.change(
        'connector.trust-key',
        { connector: name, fingerprint },
        () => `passwords are sealed to connector ${name} from now on`,
      ),
    )

  const token = program.command('token').description('one-time tokens by which connectors enrol')
  token
    .command('create')
    .description('print a token, once; it is good for one connector')
    .option('--connector-group <name>', 'group that the connector joins', 'default')
    .option('--minutes <n>', 'how long it is good', toInteger(1, dayMinutes), 60)
    .action((options: { connectorGroup: string; minutes: number }) =>
      administration.change<Token>(
        'token.create',
        { connectorGroup: options.connectorGroup, lifetimeMs: options.minutes * 60_000 },
        (token) => {
          // Not on standard output, which the token alone may be read from.
          process.stderr.write(usageOf(token))
          return token.token
        },
      ),
    )
  token
    .command('list')
    .description('tokens that were made lately, newest first; never the tokens themselves')
    .action(() =>
      administration.list(
        'token.list',
        {},
        ['id', 'connectorGroup', 'status', 'createdAt', 'expiresAt', 'connectorId'],
        'There are no tokens. Make one: sallyport token create',
      ),
    )
  token
    .command('delete <id>')
    .description('take back a token that nobody has used')
    .action((id: string) =>
      administration.change('token.delete', { id }, () => `token ${id} deleted`),
    )
}

interface Token {
  token: string
  connectorGroup: string
  expiresAt: number
  service: string
}

function usageOf({ connectorGroup, expiresAt, service }: Token): string {
  return `Good once, until ${new Date(expiresAt).toISOString().slice(0, 16).replace('T', ' ')} UTC, for the connector group ${connectorGroup}. On the connector's machine:
  sallyport-connector enroll --service ${service} --token-file - --allow HOST:PORT
`
}
