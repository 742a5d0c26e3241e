import { type Application, credentialActionOf } from '@sallyport/domain'
import { connectors, credentials, type Store } from '@sallyport/store'

/**
 * - `missing` nobody has entered a password
 * - `moved` it is kept for another address of the application, and opens for no other
 * - `lost` no connector that could open it is left
 * - `refused` the application has turned it down
 */
export type CredentialState = 'usable' | 'missing' | 'moved' | 'lost' | 'refused'

export type FoundCredential =
  | { state: 'usable'; row: credentials.CredentialRow; copies: credentials.SealedCopy[] }
  | { state: Exclude<CredentialState, 'usable'>; row?: credentials.CredentialRow }

/** The password that a person uses for an application: their own, else that of the first group that shares one. */
export async function findUsableCredential(
  db: Store['db'],
  application: Application,
  person: { id: string; groupIds: readonly string[] },
): Promise<FoundCredential> {
  if (application.signOn.method !== 'password') return { state: 'missing' }
  const subjects: credentials.CredentialSubject[] = [
    { id: person.id, kind: 'user' },
    ...person.groupIds.map((id) => ({ id, kind: 'group' }) as const),
  ]
  const rows = await credentials.listCredentials(db, { applicationId: application.id, subjects })
  const rank = ({ subjectId, subjectKind }: credentials.CredentialRow) =>
    subjects.findIndex(({ id, kind }) => id === subjectId && kind === subjectKind)
  const [row] = rows.sort((a, b) => rank(a) - rank(b))
  if (!row) return { state: 'missing' }
  if (row.refusedAt !== undefined) return { state: 'refused', row }
  const { origin } = new URL(application.internalUrl)
  if (row.origin !== origin || row.action !== credentialActionOf(application.signOn))
    return { state: 'moved', row }
  const active = new Set(await connectors.listActiveIds(db, application.connectorGroup))
  const copies = (await credentials.listCopies(db, row.id)).filter(({ connectorId }) =>
    active.has(connectorId),
  )
  return copies.length > 0 ? { state: 'usable', row, copies } : { state: 'lost', row }
}
