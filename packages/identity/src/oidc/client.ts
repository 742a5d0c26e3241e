import { createHash, timingSafeEqual } from 'node:crypto'
import {
  isOidc,
  type OidcApplication,
  parseOidcClientId,
  type Snapshot,
  toDoorHost,
} from '@sallyport/domain'
import { oidcSecrets, type Store } from '@sallyport/store'
import type { AdapterPayload } from 'oidc-provider'

/** The application that signs people on by OpenID Connect with this client; undefined for every other client. */
export function findOidcApplication(
  snapshot: Snapshot,
  clientId: string,
): OidcApplication | undefined {
  const applicationId = parseOidcClientId(clientId)
  return applicationId === undefined ? undefined : findOidcApplicationById(snapshot, applicationId)
}

export function findOidcApplicationById(
  snapshot: Snapshot,
  applicationId: string,
): OidcApplication | undefined {
  const compiled = snapshot.findApplicationById(applicationId)
  return isOidc(compiled) ? compiled : undefined
}

/** What the provider has to hold as a secret, and never compares with. */
const noSecret = 'kept as a hash, and compared in the store'

/** An application's own client, as the provider knows it. */
export function toOidcClient(
  clientId: string,
  { application: { id, displayName, signOn } }: OidcApplication,
  portalOrigin: string,
): AdapterPayload {
  const { tokenEndpointAuthMethod: method, refreshTokens, backChannelLogoutUri, subject } = signOn
  return {
    client_id: clientId,
    client_name: displayName,
    ...(method === 'none' ? {} : { client_secret: noSecret }),
    token_endpoint_auth_method: method,
    grant_types: ['authorization_code', ...(refreshTokens ? ['refresh_token'] : [])],
    response_types: ['code'],
    response_modes: ['query', 'form_post'],
    // The provider wants one; which are allowed is asked of the Snapshot, and this is none of them.
    redirect_uris: [`${portalOrigin}/.sallyport/none`],
    subject_type: subject === 'pairwise' ? 'pairwise' : 'public',
    id_token_signed_response_alg: 'RS256',
    ...(backChannelLogoutUri === undefined
      ? {}
      : {
          // The provider believes to send logout tokens there.
          backchannel_logout_uri: `https://${toDoorHost(id)}/`,
          backchannel_logout_session_required: true,
        }),
  }
}

const useNoteMs = 3_600_000

/** Whether an application has this secret. Each of them is compared, and in constant time. */
export async function hasOidcSecret(
  db: Store['db'],
  applicationId: string,
  secret: string,
  nowAt: number,
): Promise<boolean> {
  const hash = createHash('sha256').update(secret).digest()
  let found: oidcSecrets.OidcSecret | undefined
  for (const kept of await oidcSecrets.listOidcSecrets(db, applicationId))
    if (timingSafeEqual(Buffer.from(kept.secretHash, 'hex'), hash)) found = kept
  if (!found) return false
  // So that an administrator sees when the old one is not used any more.
  if (nowAt - (found.lastUsedAt ?? 0) >= useNoteMs)
    await oidcSecrets.noteOidcSecretUse(db, found.id, nowAt)
  return true
}
