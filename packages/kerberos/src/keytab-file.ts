import { open } from 'node:fs/promises'
import { KerberosError, type KerberosErrorCode } from './errors.ts'
import { type KeytabEntry, parseKeytab } from './keytab.ts'

/**
 * Reads a keytab that nobody but its owner may read or write.
 *
 * @throws KerberosError `KERBEROS_KEYTAB_UNREADABLE`, `KERBEROS_KEYTAB_EXPOSED`, `KERBEROS_KEYTAB_INVALID`
 */
export async function readKeytabFile(file: string): Promise<KeytabEntry[]> {
  const refuse = (code: KerberosErrorCode, why: string, cause?: unknown): never => {
    throw new KerberosError(code, `the keytab ${file} ${why}`, { stage: 'local', file, cause })
  }
  let bytes: Buffer | undefined
  try {
    await using handle = await open(file, 'r')
    // Of the open file, so that it cannot be another one by the time it is read.
    const stat = await handle.stat()
    if (!stat.isFile()) refuse('KERBEROS_KEYTAB_UNREADABLE', 'is no file')
    const exposed = stat.mode & 0o077
    if (exposed !== 0) {
      const mode = (stat.mode & 0o777).toString(8)
      refuse('KERBEROS_KEYTAB_EXPOSED', `has mode ${mode}: others than its owner have access`)
    }
    bytes = await handle.readFile()
  } catch (error) {
    if (error instanceof KerberosError) throw error
    const reason = (error as NodeJS.ErrnoException).code ?? String(error)
    return refuse('KERBEROS_KEYTAB_UNREADABLE', `cannot be read: ${reason}`, error)
  }
  return parseKeytab(bytes, file)
}
