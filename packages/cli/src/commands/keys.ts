import { type Command, Option } from 'commander'
import type { Administration } from '../administration.ts'

export function addKeyCommands(program: Command, administration: Administration): void {
  const key = program
    .command('key')
    .description('keys that cookies are sealed with, and assertions signed')
  key
    .command('list')
    .description('the keys of one use, the newest first')
    .addOption(useOption())
    .action((options: { use: string }) =>
      administration.list(
        'key.list',
        options,
        ['id', 'createdAt', ...(options.use === 'assertions' ? ['signsAt'] : []), 'supersededAt'],
        'There are no keys.',
      ),
    )
  key
    .command('jwks')
    .description('the public keys of assertions as a JWK set, for origins that cannot fetch it')
    .action(() => administration.show('key.jwks', {}))
  key
    .command('rotate')
    .description(
      'make a new key; what older ones have sealed or signed stays good until it expires',
    )
    .addOption(useOption())
    .option('--forget-older', 'refuse at once what older keys have sealed or signed')
    .action((options: { use: keyof typeof rotated; forgetOlder?: boolean }) =>
      administration.change<{ id: string }>('key.rotate', options, ({ id }) =>
        rotated[options.use](id, options.forgetOlder ?? false),
      ),
    )
}

function useOption(): Option {
  return new Option('--use <use>', 'what the keys are for')
    .choices(['cookies', 'assertions'])
    .default('cookies')
}

const rotated = {
  cookies: (id: string, forgetOlder: boolean) =>
    forgetOlder
      ? `key ${id} seals from now on, and what older keys have sealed is refused: everybody signs in again`
      : `key ${id} seals from now on; older keys open what they have sealed until it expires`,
  assertions: (id: string, forgetOlder: boolean) =>
    forgetOlder
      ? `key ${id} signs from now on; older keys are published no more`
      : `key ${id} is published now, and signs in 10 minutes; older keys stay published until what they have signed has expired`,
}
