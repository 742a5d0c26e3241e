import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { CommandError } from '../failure.ts'
import { readSecret } from '../standard-input.ts'

export function addPeopleCommands(program: Command, administration: Administration): void {
  addUserCommands(program.command('user').description('people who may sign in'), administration)
  addGroupCommands(
    program.command('group').description('groups of users and of groups'),
    administration,
  )
}

interface UserOptions extends FactOptions {
  displayName?: string
  passwordStdin?: boolean
  disabled?: boolean
}

/** Options for what may be said of a user, or not. */
const factOptions = {
  mail: { name: 'mail', value: '<address>', what: 'mail address' },
  onPremisesUpn: {
    name: 'onPremisesUserPrincipalName',
    value: '<name@domain>',
    what: 'userPrincipalName in Active Directory',
  },
  onPremisesSam: {
    name: 'onPremisesSamAccountName',
    value: '<name>',
    what: 'sAMAccountName in Active Directory',
  },
  onPremisesDomain: {
    name: 'onPremisesDomainName',
    value: '<domain>',
    what: 'DNS name of the Active Directory domain',
  },
} as const

/** False: `--no-...`. */
type FactOptions = { [Option in keyof typeof factOptions]?: string | false }

function withFacts(command: Command, canRemove: boolean): Command {
  for (const [option, { value, what }] of Object.entries(factOptions)) {
    const flag = option.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`)
    command.option(`--${flag} ${value}`, what)
    if (canRemove) command.option(`--no-${flag}`, `remove the ${what}`)
  }
  return command
}

function toFacts(options: FactOptions): Record<string, string | null> {
  const facts: Record<string, string | null> = {}
  for (const [option, { name }] of Object.entries(factOptions)) {
    const value = options[option as keyof FactOptions]
    if (value !== undefined) facts[name] = value === false ? null : value
  }
  return facts
}

function addUserCommands(user: Command, administration: Administration): void {
  withFacts(
    user
      .command('create <userName>')
      .description('add a user')
      .option(
        '--display-name <name>',
        'what people and applications read (default: the user name)',
      ),
    false,
  )
    .option('--password-stdin', 'ask for a password, or read it from standard input')
    .option('--disabled', 'may not sign in before "user enable"')
    .action(async (userName: string, options: UserOptions) =>
      administration.change<{ id: string }>(
        'user.create',
        {
          userName,
          displayName: options.displayName ?? userName,
          ...toFacts(options),
          ...(options.passwordStdin ? { password: await readSecret('Password') } : {}),
          ...(options.disabled ? { enabled: false } : {}),
        },
        ({ id }) => `user ${userName} created (${id})`,
      ),
    )
  user
    .command('list')
    .description('all users by name')
    .action(() =>
      administration.list(
        'user.list',
        {},
        ['userName', 'displayName', 'mail', 'enabled', 'hasPassword', 'id'],
        'There are no users. Create one: sallyport user create NAME --password-stdin',
      ),
    )
  user
    .command('show <userName>')
    .description('one user, with the groups of any depth, as JSON')
    .action((userName: string) => administration.show('user.show', { userName }))
  withFacts(
    user
      .command('update <userName>')
      .description('change what is said of a user')
      .option('--display-name <name>'),
    true,
  ).action((userName: string, { displayName, ...options }: UserOptions) => {
    const changes = {
      ...(displayName === undefined ? {} : { displayName }),
      ...toFacts(options),
    }
    if (Object.keys(changes).length === 0)
      throw new CommandError(
        'nothing to change: give --display-name, --mail, --no-mail or another option of "sallyport user update --help"',
      )
    return administration.change(
      'user.update',
      { userName, ...changes },
      () => `user ${userName} updated`,
    )
  })
  user
    .command('set-password <userName>')
    .description(
      'ask for a password, or read it from standard input; ends every session of the user',
    )
    .action(async (userName: string) =>
      administration.change(
        'user.set-password',
        { userName, password: await readSecret('New password') },
        () => `password of ${userName} set`,
      ),
    )
  for (const [verb, what] of [
    ['disable', 'end every session, and allow no other'],
    ['enable', 'allow to sign in again'],
    ['delete', 'remove a user with memberships, assignments and sessions'],
  ] as const)
    user
      .command(`${verb} <userName>`)
      .description(what)
      .action((userName: string) =>
        administration.change(`user.${verb}`, { userName }, () => `user ${userName} ${verb}d`),
      )
}

function addGroupCommands(group: Command, administration: Administration): void {
  group
    .command('create <name>')
    .description('add a group')
    .action((name: string) =>
      administration.change('group.create', { name }, () => `group ${name} created`),
    )
  group
    .command('list')
    .description('all groups by name')
    .action(() =>
      administration.list(
        'group.list',
        {},
        ['name', 'id', 'createdAt'],
        'There are no groups. Create one: sallyport group create NAME',
      ),
    )
  group
    .command('show <name>')
    .description('one group with its direct members, as JSON')
    .action((name: string) => administration.show('group.show', { name }))
  group
    .command('members <name>')
    .description('direct members of a group, users before groups')
    .option('--transitive', 'all users in it, through groups of any depth')
    .action((name: string, options: { transitive?: boolean }) =>
      administration.list(
        'group.members',
        { name, ...options },
        ['kind', 'name', 'id'],
        'The group has no members. Add one: sallyport group add GROUP MEMBER',
      ),
    )
  group
    .command('update <name>')
    .description('give a group another name; members and assignments stay')
    .requiredOption('--name <new>', 'the new name')
    .action((name: string, options: { name: string }) =>
      administration.change(
        'group.update',
        { name, newName: options.name },
        () => `group ${name} is now ${options.name}`,
      ),
    )
  group
    .command('delete <name>')
    .description('remove a group with its memberships and assignments')
    .action((name: string) =>
      administration.change('group.delete', { name }, () => `group ${name} deleted`),
    )
  for (const [verb, command, done] of [
    ['add', 'group.add-member', 'added'],
    ['remove', 'group.remove-member', 'removed'],
  ] as const)
    group
      .command(`${verb} <group> <member>`)
      .description(`${verb} a user, or with --group a group`)
      .option('--group', 'the member is a group')
      .action((name: string, member: string, options: { group?: boolean }) =>
        administration.change(
          command,
          { group: name, ...(options.group ? { memberGroup: member } : { user: member }) },
          () => `${name}: ${member} ${done}`,
        ),
      )
}
