import { readFileSync } from 'node:fs'
import type { SamlSignOn, SignOn } from '@sallyport/domain'
import {
  parseServiceProviderMetadata,
  SamlError,
  type ServiceProviderFacts,
} from '@sallyport/sso/saml'
import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { CommandError } from '../failure.ts'

/** @param app the command of applications, below which these stand */
export function addSamlCommands(app: Command, administration: Administration): void {
  app
    .command('saml <name>')
    .description('sign people on by SAML: take the settings from metadata of the application')
    .requiredOption('--metadata <file>', 'what the application says of itself, XML')
    .action(async (name: string, options: { metadata: string }) => {
      const metadata = readMetadata(options.metadata)
      const { signOn } = (await administration.execute('app.show', { name })) as { signOn: SignOn }
      await administration.change(
        'app.update',
        { name, set: { signOn: mergeSignOn(signOn, metadata) } },
        () => `application ${name} signs people on by SAML, and is known as ${metadata.entityId}`,
      )
    })
  const certificate = app
    .command('certificate')
    .description('certificates of the signatures that an application gets by SAML')
  certificate
    .command('list <name>')
    .description('all of them, the one that signs first')
    .action((name: string) =>
      administration.list(
        'app.certificate.list',
        { name },
        ['id', 'state', 'createdAt', 'notAfterAt', 'fingerprint'],
        'There are no certificates.',
      ),
    )
  certificate
    .command('create <name>')
    .description('make a new one; the metadata announces it, and it does not sign yet')
    .action((name: string) =>
      administration.change<{ id: string }>(
        'app.certificate.create',
        { name },
        ({ id }) =>
          `certificate ${id} is in the metadata of ${name} from now on; when the application knows it: sallyport app certificate activate ${name} ${id}`,
      ),
    )
  for (const [verb, what, done] of [
    ['activate', 'sign with this one from now on', 'signs from now on'],
    ['delete', 'forget one that does not sign', 'is forgotten'],
  ] as const)
    certificate
      .command(`${verb} <name> <id>`)
      .description(what)
      .action((name: string, id: string) =>
        administration.change(
          `app.certificate.${verb}`,
          { name, id },
          () => `certificate ${id} of ${name} ${done}`,
        ),
      )
}

function readMetadata(file: string): ServiceProviderFacts {
  try {
    return parseServiceProviderMetadata(readFileSync(file, 'utf8'), Date.now())
  } catch (error) {
    if (error instanceof SamlError)
      throw new CommandError(
        `${file}: ${error.message}`,
        'get the metadata of the service provider from the application, as an XML file',
      )
    throw error
  }
}

/** What metadata says is taken; what it cannot say stays as it is, if it was SAML before. */
export function mergeSignOn(
  old: SignOn,
  { nameIdFormat, ...facts }: ServiceProviderFacts,
): Partial<SamlSignOn> {
  const kept: Partial<SamlSignOn> = old.method === 'saml' ? { ...old } : {}
  delete kept.singleLogoutService
  delete kept.logoutSoapUrl
  delete kept.encryptionCertificate
  const named = kept.nameId ?? (nameIdFormat && { format: nameIdFormat })
  return {
    ...kept,
    ...(named ? { nameId: named as SamlSignOn['nameId'] } : {}),
    ...(facts as Partial<SamlSignOn>),
    method: 'saml',
  }
}
