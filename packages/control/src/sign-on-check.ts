import { AuditNotices, audit } from '@sallyport/store'
import { z } from 'zod'
import { type Challenges, proofInput } from './challenges.ts'
import type { Db } from './configuration.ts'
import { ControlError } from './errors.ts'

export const signOnCheckInput = z.strictObject({
  ...proofInput.shape,
  /** Names, as an administrator types them. */
  application: z.string().max(64),
  user: z.string().max(256),
  label: z.string().max(64).optional(),
})

/** Why a connector is not told how a person would be signed on. */
export type SignOnCheckRefusal =
  | 'APPLICATION_UNKNOWN'
  | 'APPLICATION_OF_ANOTHER_GROUP'
  | 'APPLICATION_NOT_KERBEROS'
  | 'HOST_LABEL_INVALID'
  | 'USER_NOT_ASSIGNED'
  | 'USER_NAME_MISSING'

/** Where the answers come from; identity implements it. */
export type AnswerSignOnCheck = (question: {
  connectorId: string
  connectorGroup: string
  application: string
  user: string
  label?: string | undefined
}) => Promise<
  | { token: string; applicationId: string; userId: string }
  | { refused: SignOnCheckRefusal; message: string }
>

/** What connectors ask outside of tunnels about the sign-on of one person to one application. Every answer is recorded, refusals once a minute. */
export class SignOnCheckRequests {
  readonly #challenges: Challenges
  readonly #answer: AnswerSignOnCheck
  readonly #db: Db
  readonly #clock: () => number
  readonly #notices: AuditNotices

  constructor(parts: {
    challenges: Challenges
    answer: AnswerSignOnCheck
    db: Db
    clock: () => number
  }) {
    this.#challenges = parts.challenges
    this.#answer = parts.answer
    this.#db = parts.db
    this.#clock = parts.clock
    this.#notices = new AuditNotices({ db: parts.db, clock: parts.clock })
  }

  /** @throws ControlError with the code of the refusal, and as `Challenges.check` */
  async make(
    input: z.output<typeof signOnCheckInput>,
    clientAddress: string,
  ): Promise<{ token: string }> {
    const { connector } = await this.#challenges.check(input)
    const { application, user, label } = input
    const answer = await this.#answer({
      connectorId: connector.id,
      connectorGroup: connector.groupName,
      application,
      user,
      label,
    })
    const actor = `connector:${connector.id}`
    const asked = { connector: connector.name, application, userName: user, clientAddress }
    if ('refused' in answer) {
      // Whoever has the key of a connector may try all names there are: that must not fill the log.
      await this.#notices.record(`${connector.id} ${answer.refused}`, {
        kind: 'sign-on-check-refused',
        actor,
        subject: connector.id,
        detail: { ...asked, reason: answer.refused },
      })
      throw new ControlError(answer.refused, answer.message)
    }
    await audit.recordAudit(this.#db, {
      at: this.#clock(),
      kind: 'sign-on-check-answered',
      actor,
      subject: answer.applicationId,
      detail: { ...asked, userId: answer.userId },
    })
    return { token: answer.token }
  }
}
