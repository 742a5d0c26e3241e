/**
 * The address of a connection's other end. A socket that takes IPv6 and IPv4 spells IPv4 as `::ffff:192.0.2.1`, which
 * is the same address and would be another text in logs and lists.
 */
export function toPeerAddress(socketAddress: string): string {
  return socketAddress.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')
}
