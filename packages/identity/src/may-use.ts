import type { CompiledApplication, IdentitySession } from '@sallyport/domain'

/** Whether the person of a session may use an application as who they are, by what identity itself knows. */
export function mayUse(
  { userId, claims }: IdentitySession,
  { application, assigned }: CompiledApplication,
): boolean {
  return (
    application.preAuthentication === 'identity' &&
    (!application.assignmentRequired ||
      [userId, ...claims.groups.map(({ id }) => id)].some((id) => assigned.has(id)))
  )
}
