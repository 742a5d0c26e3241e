import { join } from 'node:path'
import { LineProcess } from './line-process.ts'
import type { Scope } from './scope.ts'

export interface Acceptance {
  /** Whom MIT's library takes the sender for; absent when it refuses. */
  user?: string
  flags?: number
  /** Major status, such as 0x40000 for wrong channel bindings. */
  refused?: number
  minor?: number
  text?: string
  /** Token for the answer, empty when there is none. */
  reply: Buffer
}

/** What an application does with a token: MIT's library as the acceptor, without a replay cache. */
export class GssAcceptor {
  readonly #process: LineProcess

  /** @param krb5Config path, as the library reads it */
  constructor(scope: Scope, keytab: string, krb5Config: string) {
    const script = join(import.meta.dirname, 'gss-acceptor.py')
    const env = { KRB5_CONFIG: krb5Config }
    this.#process = new LineProcess('/usr/bin/python3', [script, keytab], env)
    scope.after(() => this.#process.close())
  }

  /** @param binding application data of the channel that the acceptor sees */
  async accept(token: Buffer, binding?: Buffer): Promise<Acceptance> {
    const { reply, ...answer } = await this.#process.ask<Acceptance & { reply: string }>({
      token: token.toString('base64'),
      ...(binding && { binding: binding.toString('base64') }),
    })
    return { ...answer, reply: Buffer.from(reply as string, 'base64') }
  }
}
