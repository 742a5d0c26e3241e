import { Extension } from '@peculiar/x509'

// id-ce-nameConstraints
const nameConstraintsOid = '2.5.29.30'

// Tags of GeneralName (RFC 5280 section 4.2.1.6)
const dnsName = 0x82
const uriName = 0x86
const ipAddress = 0x87

/**
 * Limits a certificate authority to names. A constraint covers only its own kind of name, so addresses
 * are excluded apart.
 *
 * @param permitted `dns` covers the name and everything below it; `uri` is the exact host of URIs
 * @see RFC 5280 section 4.2.1.10
 */
export function nameConstraints(permitted: {
  dns: readonly string[]
  uri?: readonly string[]
}): Extension {
  const subtree = (tag: number, value: Buffer) => encode(0x30, encode(tag, value))
  const allowed = [
    ...permitted.dns.map((name) => subtree(dnsName, Buffer.from(name, 'ascii'))),
    ...(permitted.uri ?? []).map((host) => subtree(uriName, Buffer.from(host, 'ascii'))),
  ]
  // An address of zeros with a mask of zeros is every address.
  const excluded = [subtree(ipAddress, Buffer.alloc(8)), subtree(ipAddress, Buffer.alloc(32))]
  return new Extension(
    nameConstraintsOid,
    true,
    new Uint8Array(
      encode(0x30, encode(0xa0, Buffer.concat(allowed)), encode(0xa1, Buffer.concat(excluded))),
    ),
  )
}

/** DER: tag, length, value. */
function encode(tag: number, ...values: Buffer[]): Buffer {
  const value = Buffer.concat(values)
  const { length } = value
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), value])
}
