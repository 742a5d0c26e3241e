import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib'

/** Sign-in pages are small; more of an answer is not looked at. */
export const maxPageBytes = 1_048_576

const decoders: Record<string, (bytes: Buffer, options: { maxOutputLength: number }) => Buffer> = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
}

/** The bytes of a page behind their `Content-Encoding`; none for one that cannot be decoded, or is too long then. */
export function decodeBody(bytes: Buffer, encoding: string | undefined): Buffer {
  const name = encoding?.trim().toLowerCase() ?? ''
  if (name === '' || name === 'identity' || bytes.length === 0) return bytes
  try {
    return decoders[name]?.(bytes, { maxOutputLength: maxPageBytes }) ?? Buffer.alloc(0)
  } catch {
    return Buffer.alloc(0)
  }
}
