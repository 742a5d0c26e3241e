import type { DirectoryAccount } from './pac.ts'

/** Well-known relative ids (MS-DTYP section 2.4.2.4): they stay when an account is renamed. */
const accounts = new Map([
  [500, 'the built-in administrator'],
  [501, 'the guest account'],
  [502, 'krbtgt'],
])

const groups = new Map([
  [512, 'Domain Admins'],
  [516, 'Domain Controllers'],
  [518, 'Schema Admins'],
  [519, 'Enterprise Admins'],
  [521, 'Read-only Domain Controllers'],
  [525, 'Protected Users'],
])

/**
 * Why an account is never impersonated, unless the administrator of the connector says otherwise: who rules the domain
 * does not sign in by a proxy.
 */
export function findPrivilege({ sid, groupIds, extraSids }: DirectoryAccount): string | undefined {
  const rid = Number(sid.slice(sid.lastIndexOf('-') + 1))
  const account = accounts.get(rid)
  if (account) return account
  // In the user's own domain, or in the one at the top of the forest.
  const domainSids = extraSids.filter((extra) => extra.startsWith('S-1-5-21-'))
  const rids = domainSids.map((extra) => Number(extra.slice(extra.lastIndexOf('-') + 1)))
  const group = [...groupIds, ...rids].find((id) => groups.has(id))
  if (group !== undefined) return `a member of ${groups.get(group)}`
  return extraSids.includes('S-1-5-32-544') ? 'a member of BUILTIN\\Administrators' : undefined
}
