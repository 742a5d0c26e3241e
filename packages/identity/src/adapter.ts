import type { Snapshot } from '@sallyport/domain'
import { PORTAL_APPLICATION_ID } from '@sallyport/domain'
import { oidcModel, type Store } from '@sallyport/store'
import Provider, { type Adapter, type AdapterPayload, errors } from 'oidc-provider'
import { findOidcApplication, toOidcClient } from './oidc/client.ts'

export interface AdapterParts {
  db: Store['db']
  snapshot(): Snapshot
  portalOrigin: string
  clientSecret(applicationId: string): string
  clock(): number
}

/** Where the OpenID provider keeps its things: our store; its clients are our applications. */
export function createAdapter(model: string, parts: AdapterParts): Adapter {
  const { db, clock } = parts
  // The provider saves the session at each single sign-on, and mostly nothing in it has changed: what
  // each request knows to be stored is not written again.
  const stored = new WeakMap<object, { id: string; text: string }>()
  const remember = (id: string, payload: object | undefined) => {
    if (model !== 'Session' || !Provider.ctx) return
    if (payload) stored.set(Provider.ctx, { id, text: toText(payload) })
    else stored.delete(Provider.ctx)
  }
  return {
    async upsert(id, payload, expiresIn) {
      const known = Provider.ctx && stored.get(Provider.ctx)
      const isKnown = known?.id === id
      if (isKnown && known.text === toText(payload)) return
      const expiresAt = expiresIn === undefined ? undefined : clock() + expiresIn * 1000
      if (model === 'Session')
        await oidcModel.saveOidcSession(db, id, { ...payload }, expiresAt, isKnown)
      else await oidcModel.saveOidcModel(db, { model, id }, { ...payload }, expiresAt)
      remember(id, payload)
    },
    async find(id) {
      if (model === 'Client') return toClient(id, parts)
      const found = await oidcModel.findOidcModel(db, { model, id })
      remember(id, found)
      return found as AdapterPayload | undefined
    },
    async findByUid(uid) {
      return (await oidcModel.findOidcModelByUid(db, model, uid)) as AdapterPayload | undefined
    },
    async findByUserCode(userCode) {
      return (await oidcModel.findOidcModelByUserCode(db, model, userCode)) as
        | AdapterPayload
        | undefined
    },
    async consume(id) {
      // The provider looks whether it is consumed and then calls this: between the two is room for a
      // second redemption, so the decision is here.
      if (!(await oidcModel.consumeOidcModel(db, { model, id }, clock())))
        throw new errors.InvalidGrant(`${model} was used before`)
    },
    async destroy(id) {
      await oidcModel.deleteOidcModel(db, { model, id })
      remember(id, undefined)
    },
    async revokeByGrantId(grantId) {
      await oidcModel.deleteOidcModelsOfGrant(db, model, grantId)
    },
  }
}

/** The same for the same members, whatever their order: what was read has another than what was made. */
function toText(payload: object): string {
  return JSON.stringify(Object.entries(payload).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The application as an OpenID client, or its own client. It is made anew from the Snapshot at each look-up. */
function toClient(id: string, parts: AdapterParts): AdapterPayload | undefined {
  const own = findOidcApplication(parts.snapshot(), id)
  if (own) return toOidcClient(id, own, parts.portalOrigin)
  const application = parts.snapshot().findApplicationById(id)?.application
  if (!application && id !== PORTAL_APPLICATION_ID) return undefined
  return {
    client_id: id,
    client_name: application?.displayName ?? 'Your applications',
    client_secret: parts.clientSecret(id),
    token_endpoint_auth_method: 'client_secret_post',
    grant_types: ['authorization_code'],
    response_types: ['code'],
    response_modes: ['query'],
    // The provider wants one; which are allowed is asked of the Snapshot, and this is none of them.
    redirect_uris: [`${parts.portalOrigin}/.sallyport/none`],
    id_token_signed_response_alg: 'RS256',
    ...(application?.backChannelLogoutUrl === undefined
      ? {}
      : {
          backchannel_logout_uri: application.backChannelLogoutUrl,
          backchannel_logout_session_required: true,
        }),
  }
}
