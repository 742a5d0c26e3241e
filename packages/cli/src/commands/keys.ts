import type { Command } from 'commander'
import type { Administration } from '../administration.ts'

export function addKeyCommands(program: Command, administration: Administration): void {
  const key = program.command('key').description('keys that cookies are sealed with')
  key
    .command('list')
    .description('the keys in use, the one that seals first')
    .action(() =>
      administration.list(
        'key.list',
        {},
        ['id', 'createdAt', 'supersededAt'],
        'There are no keys.',
      ),
    )
  key
    .command('rotate')
    .description('make a new key; what older ones have sealed stays good until it expires')
    .option(
      '--forget-older',
      'refuse at once what older keys have sealed: everybody signs in again',
    )
    .action((options: { forgetOlder?: boolean }) =>
      administration.change<{ id: string }>('key.rotate', options, ({ id }) =>
        options.forgetOlder
          ? `key ${id} seals from now on, and what older keys have sealed is refused`
          : `key ${id} seals from now on; older keys open what they have sealed until it expires`,
      ),
    )
}
