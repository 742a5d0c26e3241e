import type { CommandContext, CommandDefinition, CommandTable } from '../command.ts'
import { applicationCommands } from './applications.ts'
import { backupCommands } from './backup.ts'
import { connectorCommands } from './connectors.ts'
import { credentialCommands } from './credentials.ts'
import { groupCommands } from './groups.ts'
import { keyCommands } from './keys.ts'
import { objectCommands } from './objects.ts'
import { oidcCommands } from './oidc.ts'
import { samlCommands } from './saml.ts'
import { systemCommands } from './system.ts'
import { userCommands } from './users.ts'

const definitions: Record<string, CommandDefinition> = {
  ...userCommands,
  ...groupCommands,
  ...applicationCommands,
  ...samlCommands,
  ...oidcCommands,
  ...connectorCommands,
  ...credentialCommands,
  ...objectCommands,
  ...backupCommands,
  ...keyCommands,
  ...systemCommands,
}

/** Every command, ready to run. A Map: no name of `Object.prototype` is a command. */
export function createCommands(context: CommandContext): CommandTable {
  return new Map(
    Object.entries(definitions).map(([name, { summary, changes, input, run }]) => [
      name,
      { summary, changes, input, run: (value, actor) => run(context, value, actor) },
    ]),
  )
}
