import type { Application } from '@sallyport/domain'
import { saml } from '@sallyport/store'
import { z } from 'zod'
import { type CommandDefinition, change, prepared, query, reference } from '../command.ts'
import type { Db } from '../configuration.ts'
import { refuse } from '../errors.ts'
import { makeSamlCertificate, toCertificateFacts } from '../saml-certificates.ts'
import { findPublished } from './references.ts'

const application = z.strictObject({ name: reference })
const certificate = z.strictObject({ name: reference, id: reference })

export const samlCommands: Record<string, CommandDefinition> = {
  'app.certificate.list': query(
    'Lists the certificates of the signatures that an application gets by SAML, the one that signs first.',
    application,
    async ({ db }, { name }) => {
      const { id } = await findSaml(db, name)
      return (await saml.listCertificates(db, id)).map(toCertificateFacts)
    },
  ),

  'app.certificate.create': prepared(
    "Makes a key that stands in an application's metadata, and does not sign yet.",
    application,
    async ({ db, keyFile, clock }, { name }) => ({
      name,
      made: await makeSamlCertificate((await findSaml(db, name)).name, keyFile, clock()),
    }),
    async (change, { name, made }) => {
      const { id } = await findSaml(change.db, name)
      if ((await saml.listCertificates(change.db, id)).length >= 3)
        throw refuse('CONFLICT', {
          path: 'name',
          message: `${name} has three certificates; delete one that is not used: sallyport app certificate delete`,
        })
      const added = { ...made, applicationId: id, active: false }
      await saml.addCertificate(change.db, added)
      await change.audit('saml-certificate-created', id, { name, certificate: made.id })
      return toCertificateFacts(added)
    },
  ),

  'app.certificate.activate': change(
    'Signs with another certificate of the application from now on.',
    certificate,
    async (change, input) => {
      const { id } = await findSaml(change.db, input.name)
      const chosen = await findCertificate(change.db, id, input)
      await saml.activateCertificate(change.db, id, chosen.id)
      await change.audit('saml-certificate-activated', id, {
        name: input.name,
        certificate: chosen.id,
      })
    },
  ),

  'app.certificate.delete': change(
    'Forgets a certificate that does not sign; it is in the metadata no more.',
    certificate,
    async (change, input) => {
      const { id } = await findSaml(change.db, input.name)
      const chosen = await findCertificate(change.db, id, input)
      if (chosen.active)
        throw refuse('CONFLICT', {
          path: 'id',
          message: `${chosen.id} signs; let another one sign first: sallyport app certificate activate`,
        })
      await saml.deleteCertificate(change.db, chosen.id)
      await change.audit('saml-certificate-deleted', id, {
        name: input.name,
        certificate: chosen.id,
      })
    },
  ),
}

async function findSaml(db: Db, name: string): Promise<Application> {
  const application = await findPublished(db, name, 'name')
  if (application.signOn.method !== 'saml')
    throw refuse('CONFLICT', {
      path: 'name',
      message: `${application.name} signs people on by ${application.signOn.method}, and not by SAML`,
    })
  return application
}

async function findCertificate(
  db: Db,
  applicationId: string,
  { name, id }: z.output<typeof certificate>,
): Promise<saml.SamlCertificate> {
  const found = (await saml.listCertificates(db, applicationId)).find((one) => one.id === id)
  if (!found)
    throw refuse('NOT_FOUND', {
      path: 'id',
      message: `${name} has no certificate ${id}; see: sallyport app certificate list ${name}`,
    })
  return found
}
