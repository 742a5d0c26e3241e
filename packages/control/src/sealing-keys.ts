import { createHmac, timingSafeEqual } from 'node:crypto'
import { isLinked } from '@sallyport/domain'
import { fingerprintOf, isSealingPublicKey } from '@sallyport/sso/password'
import { applications, connectors, credentials } from '@sallyport/store'
import { z } from 'zod'
import type { Challenges } from './challenges.ts'
import { proofInput } from './challenges.ts'
import type { Configuration, Db } from './configuration.ts'
import { ControlError } from './errors.ts'
import type { KeyFile } from './key-file.ts'

/** So many credentials are sealed again with one request, whose body is bounded. */
const limitPage = 80

export const sealingKeyInput = z.string().refine(isSealingPublicKey, {
  error: 'must be the base64url of 32 bytes',
})

export const announceInput = z.strictObject({ ...proofInput.shape, sealingKey: sealingKeyInput })

export const sealedInput = z.strictObject({
  ...proofInput.shape,
  /** Of the key that shall be able to open them too. */
  fingerprint: z.string().max(64),
})

export const resealInput = z.strictObject({
  ...sealedInput.shape,
  copies: z
    .array(
      z.strictObject({
        credentialId: z.uuid(),
        version: z.int().min(1),
        sealed: z.string().max(16_384),
      }),
    )
    .max(limitPage),
})

/** A connector that credentials may be sealed to. */
export interface Recipient {
  connectorId: string
  publicKey: string
}

/**
 * The keys that passwords are sealed to. One gets them only after an administrator has compared its fingerprint with what
 * the connector's machine prints: whoever can write to the database cannot add a key of his own, because what proves the
 * comparison is made with the key file.
 */
export class SealingKeys {
  readonly #secret: Buffer

  constructor(keyFile: KeyFile) {
    this.#secret = keyFile.derive('approval of sealing keys')
  }

  approvalOf({ id, sealingKey }: connectors.Connector): string {
    return createHmac('sha256', this.#secret)
      .update(JSON.stringify([id, sealingKey]))
      .digest('base64url')
  }

  isApproved(connector: connectors.Connector): boolean {
    if (connector.sealingKey === undefined || connector.sealingKeyApproval === undefined)
      return false
    const wanted = Buffer.from(this.approvalOf(connector))
    const stored = Buffer.from(connector.sealingKeyApproval)
    return wanted.length === stored.length && timingSafeEqual(wanted, stored)
  }

  /** Those of a connector group. */
  async recipients(db: Db, groupName: string): Promise<Recipient[]> {
    return (await connectors.listConnectorsOfGroup(db, groupName))
      .filter((connector) => this.isApproved(connector))
      .map(({ id, sealingKey }) => ({ connectorId: id, publicKey: sealingKey! }))
  }
}

/** What connectors ask for outside of tunnels about the keys that passwords are sealed to. */
export class SealingRequests {
  readonly #keys: SealingKeys
  readonly #challenges: Challenges
  readonly #configuration: Configuration
  readonly #db: Db

  constructor(parts: {
    keys: SealingKeys
    challenges: Challenges
    configuration: Configuration
    db: Db
  }) {
    this.#keys = parts.keys
    this.#challenges = parts.challenges
    this.#configuration = parts.configuration
    this.#db = parts.db
  }

  /** A connector says which key is its own. @throws ControlError as `Challenges.check` */
  async announce(
    input: z.output<typeof announceInput>,
    clientAddress: string,
  ): Promise<Record<string, never>> {
    const { connector } = await this.#challenges.check(input)
    const { id, name } = connector
    if (connector.sealingKey === input.sealingKey) return {}
    await this.#configuration.change(`connector:${id}`, async (change) => {
      if (!(await connectors.setSealingKey(change.db, id, input.sealingKey))) return
      await change.audit('connector-sealing-key-announced', id, {
        name,
        fingerprint: fingerprintOf(input.sealingKey),
        replaces: connector.sealingKey && fingerprintOf(connector.sealingKey),
        clientAddress,
      })
    })
    return {}
  }

  /**
   * What a connector can open and another one of its group cannot yet.
   *
   * @throws ControlError `SEALING_KEY_UNKNOWN`, `SEALING_KEY_NOT_APPROVED`, and as `Challenges.check`
   */
  async list(input: z.output<typeof sealedInput>) {
    const { connector } = await this.#challenges.check(input)
    const other = await this.#findOther(this.#db, connector, input.fingerprint)
    const applicationIds = await listApplicationIds(this.#db, connector.groupName)
    const rows = await credentials.listToReseal(
      this.#db,
      applicationIds,
      connector.id,
      other.id,
      limitPage,
    )
    return {
      publicKey: other.sealingKey,
      name: other.name,
      credentials: rows.map((row) => ({
        credentialId: row.id,
        applicationId: row.applicationId,
        subject: `${row.subjectKind}:${row.subjectId}`,
        origin: row.origin,
        action: row.action,
        version: row.version,
        sealed: row.sealed,
      })),
    }
  }

  /** Takes the copies that a connector has made for another one. @throws ControlError as `list` */
  async add(input: z.output<typeof resealInput>): Promise<{ added: number }> {
    const { connector } = await this.#challenges.check(input)
    const added = await this.#configuration.change(`connector:${connector.id}`, async (change) => {
      // In the transaction: with another key of that connector all copies for it go.
      const other = await this.#findOther(change.db, connector, input.fingerprint)
      const applicationIds = new Set(await listApplicationIds(change.db, connector.groupName))
      const between = { fromConnectorId: connector.id, connectorId: other.id }
      let count = 0
      for (const copy of input.copies)
        if (await credentials.addCopy(change.db, applicationIds, { ...copy, ...between }))
          count += 1
      if (count > 0)
        await change.audit('credentials-resealed', other.id, {
          name: other.name,
          by: connector.name,
          count,
        })
      return count
    })
    return { added }
  }

  async #findOther(
    db: Db,
    connector: connectors.Connector,
    fingerprint: string,
  ): Promise<connectors.Connector> {
    const other = (await connectors.listConnectorsOfGroup(db, connector.groupName)).find(
      ({ id, sealingKey }) =>
        id !== connector.id &&
        sealingKey !== undefined &&
        fingerprintOf(sealingKey) === fingerprint,
    )
    if (!other)
      throw new ControlError(
        'SEALING_KEY_UNKNOWN',
        `no other connector of the group ${connector.groupName} has told a key with the fingerprint ${fingerprint}; see there: sallyport-connector fingerprint`,
      )
    if (!this.#keys.isApproved(other))
      throw new ControlError(
        'SEALING_KEY_NOT_APPROVED',
        `approve the key at the service first: sallyport connector trust-key ${other.id} ${fingerprint}`,
      )
    return other
  }
}

/** A connector that was moved can still open what was sealed to it in its former group, which is no business of the new one. */
async function listApplicationIds(db: Db, groupName: string): Promise<string[]> {
  return (await applications.listApplications(db))
    .filter(({ application }) => !isLinked(application) && application.connectorGroup === groupName)
    .map(({ application }) => application.id)
}
