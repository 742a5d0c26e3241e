import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** A certificate by which an application knows our signatures. Instants are epoch milliseconds. */
export interface SamlCertificate {
  id: string
  applicationId: string
  /** PEM. */
  certificate: string
  sealedKey: string
  createdAt: number
  notAfterAt: number
  /** Whether it signs; of an application exactly one does. */
  active: boolean
}

/** Of one application, the active one first, then the newest. */
export async function listCertificates(
  db: Kysely<Database>,
  applicationId: string,
): Promise<SamlCertificate[]> {
  const rows = await db
    .selectFrom('samlCertificate')
    .selectAll()
    .where('applicationId', '=', applicationId)
    .orderBy('active', 'desc')
    .orderBy('createdAt', 'desc')
    .orderBy('id')
    .execute()
  return rows.map((row) => ({ ...row, active: row.active === 1 }))
}

export async function listCertifiedApplications(db: Kysely<Database>): Promise<Set<string>> {
  const rows = await db.selectFrom('samlCertificate').select('applicationId').distinct().execute()
  return new Set(rows.map(({ applicationId }) => applicationId))
}

export async function addCertificate(
  db: Kysely<Database>,
  certificate: SamlCertificate,
): Promise<void> {
  await db
    .insertInto('samlCertificate')
    .values({ ...certificate, active: certificate.active ? 1 : 0 })
    .execute()
}

/** Lets one of an application's certificates sign, and the others not. To be called in a transaction. */
export async function activateCertificate(
  db: Kysely<Database>,
  applicationId: string,
  id: string,
): Promise<void> {
  const ofApplication = db.updateTable('samlCertificate').where('applicationId', '=', applicationId)
  await ofApplication.set({ active: 0 }).execute()
  await ofApplication.where('id', '=', id).set({ active: 1 }).execute()
}

export async function deleteCertificate(db: Kysely<Database>, id: string): Promise<void> {
  await db.deleteFrom('samlCertificate').where('id', '=', id).execute()
}

/** What an application knows a session of ours by. */
export interface SamlSession {
  sessionId: string
  applicationId: string
  sessionIndex: string
  nameId: string
  nameIdFormat: string
  begunAt: number
}

/** Keeps what an application was told; what it was told before in the session counts no more. */
export async function saveSamlSession(db: Kysely<Database>, session: SamlSession): Promise<void> {
  const { sessionIndex, nameId, nameIdFormat, begunAt } = session
  await db
    .insertInto('samlSession')
    .values(session)
    .onConflict((conflict) =>
      conflict
        .columns(['sessionId', 'applicationId'])
        .doUpdateSet({ sessionIndex, nameId, nameIdFormat, begunAt }),
    )
    .execute()
}

/** In the order in which they were begun. */
export function listSamlSessions(db: Kysely<Database>, sessionId: string): Promise<SamlSession[]> {
  return db
    .selectFrom('samlSession')
    .selectAll()
    .where('sessionId', '=', sessionId)
    .orderBy('begunAt')
    .orderBy('applicationId')
    .execute()
}
