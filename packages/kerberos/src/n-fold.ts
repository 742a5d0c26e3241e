/**
 * The n-fold of RFC 3961 section 5.1: copies of the input, each rotated right by 13 bits more than the one before,
 * are laid end to end and added up in pieces of `size` bytes, with end-around carry.
 */
export function nFold(input: Buffer, size: number): Buffer {
  const total = leastCommonMultiple(input.length, size)
  const sum = new Array<number>(size).fill(0)
  const bits = input.length * 8
  for (let at = 0; at < total; at += 1) {
    const rotation = 13 * Math.floor(at / input.length)
    const firstBit = (((at % input.length) * 8 - rotation) % bits) + bits
    sum[at % size]! += byteAt(input, firstBit)
  }
  // A carry out of the first byte comes in again at the last one.
  for (let carry = 0, turn = 0; turn === 0 || carry > 0; turn += 1) {
    for (let at = size - 1; at >= 0; at -= 1) {
      const value = sum[at]! + carry
      sum[at] = value & 0xff
      carry = value >>> 8
    }
  }
  return Buffer.from(sum)
}

/** Eight bits from a bit offset on, the input taken as a ring. */
function byteAt(input: Buffer, bit: number): number {
  const index = Math.floor(bit / 8)
  const pair = (input[index % input.length]! << 8) | input[(index + 1) % input.length]!
  return (pair >>> (8 - (bit % 8))) & 0xff
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b]
  while (y > 0) [x, y] = [y, x % y]
  return (a / x) * b
}
