import type { AccessEvent } from '@sallyport/domain'
import { audit, credentials, groups, type Store } from '@sallyport/store'

/** An application has turned a credential down. Noted once, and told to every gateway that may still hold it. */
export async function noteRefused(
  store: Store,
  { id, version }: { id: string; version: number },
  nowAt: number,
): Promise<void> {
  await store.change(async (db, announce) => {
    const row = await credentials.markRefused(db, id, version, nowAt)
    if (!row) return
    const { applicationId, subjectId, subjectKind } = row
    await audit.recordAudit(db, {
      at: nowAt,
      kind: 'credential-refused',
      actor: 'application',
      subject: applicationId,
      detail: { subjectKind, subjectId, version },
    })
    const userIds = subjectKind === 'user' ? [subjectId] : await groups.usersBelow(db, subjectId)
    announce(userIds.map((userId): AccessEvent => ({ kind: 'claims-changed', userId, at: nowAt })))
  })
}
