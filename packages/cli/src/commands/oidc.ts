import type { Command } from 'commander'
import type { Administration } from '../administration.ts'

/** @param app the command of applications, below which these stand */
export function addOidcCommands(app: Command, administration: Administration): void {
  app
    .command('oidc <name>')
    .description('what to tell an application that signs people on by OpenID Connect, as JSON')
    .action((name: string) => administration.show('app.oidc.show', { name }))
  const secret = app
    .command('secret')
    .description('secrets of an application that signs people on by OpenID Connect')
  secret
    .command('list <name>')
    .description('all of them, the newest first, without the secrets')
    .action((name: string) =>
      administration.list(
        'app.secret.list',
        { name },
        ['id', 'createdAt', 'lastUsedAt'],
        `There are no secrets. Make one: sallyport app secret create ${name}`,
      ),
    )
  secret
    .command('create <name>')
    .description('make a new one and show it, this once; the one before stays valid')
    .action((name: string) =>
      administration.change<{ id: string; clientId: string; secret: string }>(
        'app.secret.create',
        { name },
        ({ id, clientId, secret }) =>
          `client ID      ${clientId}\nclient secret  ${secret}\nIt is shown this once. Secret ${id}; forget the one before when the application has this one.`,
      ),
    )
  secret
    .command('delete <name> <id>')
    .description('forget one')
    .action((name: string, id: string) =>
      administration.change(
        'app.secret.delete',
        { name, id },
        () => `secret ${id} of ${name} is forgotten`,
      ),
    )
}
