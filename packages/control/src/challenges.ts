import { randomBytes, verify } from 'node:crypto'
import type { connectors } from '@sallyport/store'
import { z } from 'zod'
import type { ConnectorAuthentication, ConnectorProof } from './connector-authentication.ts'
import { ControlError } from './errors.ts'
import type { KeyFile } from './key-file.ts'

const lifetimeMs = 60_000
const purpose = 'renewal challenge'
const limitUsed = 10_000

export const challengeInput = z.strictObject({ certificate: z.string().max(16_384) })

/** A certificate, and a challenge signed with its key. */
export const proofInput = z.strictObject({
  certificate: z.string().max(16_384),
  challenge: z.string().max(1_024),
  signature: z.string().max(1_024),
})

interface Challenge {
  serial: string
  nonce: string
  expiresAt: number
}

/** How a connector proves outside of a tunnel that it holds its key. Its certificate may have expired. */
export class Challenges {
  readonly #authentication: ConnectorAuthentication
  readonly #keyFile: KeyFile
  readonly #clock: () => number
  readonly #used = new Map<string, number>()

  constructor(authentication: ConnectorAuthentication, keyFile: KeyFile, clock: () => number) {
    this.#authentication = authentication
    this.#keyFile = keyFile
    this.#clock = clock
  }

  /**
   * Something to sign, for the holder of this certificate's key only. Nothing is kept of it.
   *
   * @throws ControlError as `readForRenewal` and `checkInForce`
   */
  async make(input: z.output<typeof challengeInput>): Promise<{ challenge: string }> {
    const proof = this.#authentication.readForRenewal(input.certificate)
    await this.#authentication.checkInForce(proof, false)
    const facts: Challenge = {
      serial: proof.serial,
      nonce: randomBytes(16).toString('base64url'),
      expiresAt: this.#clock() + lifetimeMs,
    }
    return { challenge: this.#keyFile.seal(purpose, Buffer.from(JSON.stringify(facts))) }
  }

  /**
   * Checks that the challenge was signed by the key of the certificate. It is good once.
   *
   * @throws ControlError `CHALLENGE_INVALID`, and those of `readForRenewal` and `checkInForce`
   */
  async check({ certificate: pem, challenge, signature }: z.output<typeof proofInput>): Promise<{
    connector: connectors.Connector
    proof: ConnectorProof
  }> {
    const proof = this.#authentication.readForRenewal(pem)
    const nowAt = this.#clock()
    const facts = this.#open(challenge, proof.serial, nowAt)
    const signed = verify(
      'sha256',
      Buffer.from(challenge, 'utf8'),
      proof.certificate.publicKey,
      Buffer.from(signature, 'base64url'),
    )
    if (!signed)
      throw new ControlError('CHALLENGE_INVALID', 'the challenge was not signed with the key')
    this.#useUp(facts, nowAt)
    return { connector: await this.#authentication.checkInForce(proof, true), proof }
  }

  #open(sealed: string, serial: string, nowAt: number): Challenge {
    const invalid = (message: string, cause?: unknown) =>
      new ControlError('CHALLENGE_INVALID', message, { cause })
    let facts: Challenge
    try {
      const plain = this.#keyFile.open(purpose, sealed)
      facts = JSON.parse(plain.toString('utf8')) as Challenge
    } catch (cause) {
      throw invalid('the challenge is not ours', cause)
    }
    if (facts.serial !== serial) throw invalid('the challenge was made for another certificate')
    if (nowAt >= facts.expiresAt || this.#used.has(facts.nonce))
      throw invalid('the challenge has expired; ask for another')
    return facts
  }

  /** Whoever saw it go by gets nothing from it. */
  #useUp({ nonce, expiresAt }: Challenge, nowAt: number): void {
    for (const [used, at] of this.#used) {
      if (at > nowAt && this.#used.size < limitUsed) break
      this.#used.delete(used)
    }
    this.#used.set(nonce, expiresAt)
  }
}
