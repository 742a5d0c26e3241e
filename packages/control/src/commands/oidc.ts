import { createHash, randomBytes } from 'node:crypto'
import { type Application, type OidcSignOn, toExternalUrl, toOidcClientId } from '@sallyport/domain'
import { oidcSecrets } from '@sallyport/store'
import { z } from 'zod'
import {
  type CommandContext,
  type CommandDefinition,
  change,
  query,
  reference,
} from '../command.ts'
import type { Db } from '../configuration.ts'
import { refuse } from '../errors.ts'
import { findPublished } from './references.ts'

const application = z.strictObject({ name: reference })
const secret = z.strictObject({ name: reference, id: reference })

/** The old one and the new one, while the application is given the new one. */
const limitSecrets = 2

export const oidcCommands: Record<string, CommandDefinition> = {
  'app.oidc.show': query(
    'What an application that signs people on by OpenID Connect has to be told.',
    application,
    async ({ db, facts, configuration }, { name }) => {
      const { id, signOn } = await findOidc(db, name)
      const compiled = configuration.snapshot.findApplicationById(id)
      const toExternal = (uri: string) => (compiled ? toExternalUrl(compiled, uri) : uri)
      return {
        ...endpointsOf(facts),
        clientId: toOidcClientId(id),
        tokenEndpointAuthMethod: signOn.tokenEndpointAuthMethod,
        redirectUris: signOn.redirectUris.map(toExternal),
        postLogoutRedirectUris: signOn.postLogoutRedirectUris.map(toExternal),
      }
    },
  ),

  'app.secret.list': query(
    'Lists the secrets of an application that signs people on by OpenID Connect, without the secrets.',
    application,
    async ({ db }, { name }) => {
      const { id } = await findOidc(db, name)
      return (await oidcSecrets.listOidcSecrets(db, id)).map(toFacts)
    },
  ),

  'app.secret.create': change(
    'Makes a secret of an application; it is told this once.',
    application,
    async (change, { name }, { clock }) => {
      const { id: applicationId, signOn } = await findOidc(change.db, name)
      if (signOn.tokenEndpointAuthMethod === 'none')
        throw refuse('CONFLICT', {
          path: 'name',
          message: `${name} can keep no secret (tokenEndpointAuthMethod is none); it uses PKCE instead`,
        })
      if ((await oidcSecrets.listOidcSecrets(change.db, applicationId)).length >= limitSecrets)
        throw refuse('CONFLICT', {
          path: 'name',
          message: `${name} has two secrets; delete the one that is not used any more: sallyport app secret list ${name}`,
        })
      // Letters and digits: some clients encode anything else as the standard says, and others do not.
      const made = randomBytes(32).toString('hex')
      const added = {
        id: randomBytes(6).toString('hex'),
        applicationId,
        secretHash: createHash('sha256').update(made).digest('hex'),
        createdAt: clock(),
      }
      await oidcSecrets.addOidcSecret(change.db, added)
      await change.audit('oidc-secret-created', applicationId, { name, secret: added.id })
      return {
        ...toFacts({ ...added, lastUsedAt: undefined }),
        clientId: toOidcClientId(applicationId),
        secret: made,
      }
    },
  ),

  'app.secret.delete': change(
    'Forgets a secret: from now on the application proves nothing by it.',
    secret,
    async (change, { name, id }) => {
      const { id: applicationId } = await findOidc(change.db, name)
      const all = await oidcSecrets.listOidcSecrets(change.db, applicationId)
      if (!all.some((one) => one.id === id))
        throw refuse('NOT_FOUND', {
          path: 'id',
          message: `${name} has no secret ${id}; see: sallyport app secret list ${name}`,
        })
      await oidcSecrets.deleteOidcSecret(change.db, id)
      await change.audit('oidc-secret-deleted', applicationId, { name, secret: id })
    },
  ),
}

/** What discovery says too, for applications that do not read it. */
function endpointsOf({ baseDomain, port, tenantId }: CommandContext['facts']) {
  const tenant = `https://login.${baseDomain}${port === 443 ? '' : `:${port}`}/${tenantId}`
  const issuer = `${tenant}/v2.0`
  return {
    issuer,
    discovery: `${issuer}/.well-known/openid-configuration`,
    authorizationEndpoint: `${tenant}/oauth2/v2.0/authorize`,
    tokenEndpoint: `${tenant}/oauth2/v2.0/token`,
    userinfoEndpoint: `${tenant}/oauth2/v2.0/userinfo`,
    revocationEndpoint: `${tenant}/oauth2/v2.0/revoke`,
    endSessionEndpoint: `${tenant}/oauth2/v2.0/logout`,
    jwksUri: `${tenant}/discovery/v2.0/keys`,
  }
}

function toFacts({ id, createdAt, lastUsedAt }: Omit<oidcSecrets.OidcSecret, 'secretHash'>) {
  return { id, createdAt, lastUsedAt }
}

async function findOidc(db: Db, name: string): Promise<Application & { signOn: OidcSignOn }> {
  const application = await findPublished(db, name, 'name')
  const { signOn } = application
  if (signOn.method !== 'oidc')
    throw refuse('CONFLICT', {
      path: 'name',
      message: `${application.name} signs people on by ${signOn.method}, and not by OpenID Connect`,
    })
  return { ...application, signOn }
}
