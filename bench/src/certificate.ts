import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A self-signed P-256 certificate for one host; the certificate is its own authority. */
export async function makeCertificate(
  folder: string,
  host: string,
): Promise<{ certificate: string; key: string }> {
  const files = { certificate: join(folder, `${host}.pem`), key: join(folder, `${host}.key`) }
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-keyout', files.key, '-out', files.certificate, '-days', '2'],
    ...['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`],
  ])
  return files
}
