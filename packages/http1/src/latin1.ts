/** Each byte becomes one character. As `toString('latin1')`, without its dispatch over encodings (a quarter of its time). */
export function latin1(bytes: Buffer, start = 0, end = bytes.length): string {
  return (bytes as Buffer & { latin1Slice(start: number, end: number): string }).latin1Slice(
    start,
    end,
  )
}
