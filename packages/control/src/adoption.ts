import { audit, connectors, settings } from '@sallyport/store'
import { backdateMs } from './certificate-authority.ts'
import type { Db } from './configuration.ts'
import type { ConnectorProof } from './connector-authentication.ts'

/** Written by whoever restores a backup; instants are epoch milliseconds. */
interface Restored {
  backupAt: number
  restoredAt: number
}

/** The clock that issued a certificate may have been ahead of that which took the backup. */
const toleranceMs = 300_000

/**
 * Whether a certificate is one that the database does not know of because it was issued after a backup that has been
 * restored since. Of several it is the newest that counts: one that a later one replaced is never taken.
 */
export async function isAdoptable(
  db: Db,
  connector: connectors.Connector,
  { certificate }: ConnectorProof,
): Promise<boolean> {
  const text = await settings.findSetting(db, 'restored')
  if (text === undefined) return false
  const { backupAt, restoredAt } = JSON.parse(text) as Restored
  const issuedAt = certificate.validFromDate.getTime() + backdateMs
  return (
    issuedAt >= backupAt - toleranceMs &&
    issuedAt <= restoredAt &&
    certificate.validToDate.getTime() > connector.certificateNotAfterAt
  )
}

/**
 * Puts such a certificate in force.
 *
 * @param thumbprint of its public key, which the connector has shown that it holds
 * @returns false when another one came into force in the meantime
 */
export function adoptCertificate(
  db: Db,
  { id, name, certificateSerial }: connectors.Connector,
  { certificate, serial }: ConnectorProof,
  thumbprint: string,
  nowAt: number,
): Promise<boolean> {
  return db.transaction().execute(async (db) => {
    const adopted = await connectors.adoptCertificate(db, id, certificateSerial, {
      serial,
      notAfterAt: certificate.validToDate.getTime(),
      publicKeyThumbprint: thumbprint,
    })
    if (adopted)
      await audit.recordAudit(db, {
        at: nowAt,
        kind: 'connector-certificate-adopted',
        actor: `connector:${id}`,
        subject: id,
        detail: { name, serial },
      })
    return adopted
  })
}
