import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { signJws } from './jws.ts'

interface Signer {
  certificatePem: string
  x5c: [string]
  key: KeyObject
}

/** Signs what connectors are told of people; they know the key by its certificate, which goes along. */
export class SignOnSigner {
  readonly #readKey: () => Promise<{ keyPem: string; certificatePem: string }>
  #signer: Signer | undefined

  /** @param readKey key and certificate that connectors know identity by, PEM; asked each time, since they are renewed */
  constructor(readKey: () => Promise<{ keyPem: string; certificatePem: string }>) {
    this.#readKey = readKey
  }

  /** @param typ what is said: nobody takes a word of one kind for one of another */
  async sign(
    typ: 'sallyport-sign-on+jwt' | 'sallyport-sign-on-check+jwt',
    claims: object,
  ): Promise<string> {
    const { x5c, key } = await this.#getSigner()
    return signJws({ typ, x5c }, claims, key)
  }

  async #getSigner(): Promise<Signer> {
    const { keyPem, certificatePem } = await this.#readKey()
    if (this.#signer?.certificatePem !== certificatePem)
      this.#signer = {
        certificatePem,
        x5c: [new X509Certificate(certificatePem).raw.toString('base64')],
        key: createPrivateKey(keyPem),
      }
    return this.#signer
  }
}
