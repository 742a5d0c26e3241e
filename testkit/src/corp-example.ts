import { AccountFlag, ActiveDirectory } from './active-directory.ts'
import type { Scope } from './scope.ts'

const { NOT_DELEGATED, DISABLED, TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION } = AccountFlag

/** Accounts whose keytabs a connector may be given. */
export type ConnectorAccount =
  | 'svc-connector'
  | 'svc-kcdonly'
  | 'svc-nodeleg'
  | 'svc-rbcd'
  | 'CONN01$'

/**
 * The domain corp.example with people of every kind, applications, and connectors with every kind of right:
 *
 * - `alice`; `bbuilder`, whose userPrincipalName is bob@contoso.com; `judy` without one; `jürgen`
 * - `carol` disabled, `frank` expired, `grace` must change the password, `dave` sensitive, `erin` in Protected Users
 * - `svc-connector` and the computer `CONN01$` may delegate to app and legacy, with protocol transition;
 *   `svc-kcdonly` without; `svc-nodeleg` to nothing; app2 lets `svc-rbcd` act for others
 * - HTTP/app, HTTP/app2 and HTTP/legacy (RC4 only) under corp.example
 */
export async function startCorpExample(scope: Scope): Promise<ActiveDirectory> {
  const directory = await ActiveDirectory.start(scope)
  await directory.user('alice', { givenName: 'Alice' })
  await directory.user('bbuilder', { userPrincipalName: 'bob@contoso.com' })
  await directory.user('carol', { flags: DISABLED })
  await directory.user('dave', { flags: NOT_DELEGATED })
  await directory.user('erin', { groups: ['Protected Users'] })
  await directory.user('frank', { accountExpires: '132223104000000000' })
  await directory.user('grace', { pwdLastSet: '0' })
  await directory.user('judy', { userPrincipalName: null })
  await directory.user('jürgen')
  const spn = (host: string) => `HTTP/${host}.${directory.domain}`
  await directory.service('svc-app', { spns: [spn('app')] })
  await directory.service('svc-app2', { spns: [spn('app2')] })
  await directory.service('svc-legacy', {
    spns: [spn('legacy')],
    msDS_SupportedEncryptionTypes: '4',
  })
  const delegateTo = [spn('app'), spn('legacy')]
  const flags = TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION
  await directory.service('svc-connector', { spns: [spn('connector')], delegateTo, flags })
  await directory.service('svc-kcdonly', { spns: [spn('kcdonly')], delegateTo })
  await directory.service('svc-nodeleg', { spns: [spn('nodeleg')] })
  await directory.service('svc-rbcd', { spns: [spn('rbcd')], flags })
  await directory.allowToActFor('svc-app2', 'svc-rbcd')
  await directory.service('CONN01$', {
    spns: [`HOST/conn01.${directory.domain}`],
    delegateTo,
    flags,
  })
  return directory
}
