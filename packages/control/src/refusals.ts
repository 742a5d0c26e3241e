import type { AuditNotices } from '@sallyport/store'
import { ControlError, type ControlErrorCode } from './errors.ts'

/** What says that somebody is no connector of ours. A used token and a superseded certificate have events of their own. */
const refusals: ReadonlySet<ControlErrorCode> = new Set([
  'TOKEN_INVALID',
  'TOKEN_EXPIRED',
  'CSR_INVALID',
  'CHALLENGE_INVALID',
  'CERTIFICATE_INVALID',
  'CERTIFICATE_EXPIRED',
  'CONNECTOR_UNKNOWN',
  'CONNECTOR_REVOKED',
])

/** Records who asked to be a connector, or to stay one, and was refused: one event a minute for each cause and address. */
export class Refusals {
  readonly #notices: AuditNotices

  constructor(notices: AuditNotices) {
    this.#notices = notices
  }

  /** @param error what it was refused with; others than those of connectors are not recorded */
  async record(
    error: unknown,
    { clientAddress, subject }: { clientAddress: string; subject: string },
  ): Promise<void> {
    if (!(error instanceof ControlError) || !refusals.has(error.code)) return
    await this.#notices.record(`${error.code} ${subject} ${clientAddress}`, {
      kind: 'connector-refused',
      actor: `address:${clientAddress}`,
      subject,
      detail: { reason: error.code, clientAddress },
    })
  }
}
