import { type Control, startControl } from '@sallyport/control'
import type { Problem } from '@sallyport/domain'
import { hashPassword } from '@sallyport/identity'
import { type ServiceConfig, serviceFiles } from './config.ts'
import { checkOwner, makeFolder } from './folders.ts'
import { toPrintable } from './output.ts'
import { explainKeyMismatch } from './service-key.ts'
import { describeDatabase, openServiceStore } from './service-store.ts'

/**
 * Works on the store while no service runs.
 *
 * @param warn hears of what would keep the service from starting
 * @throws StoreError `STORE_IN_USE` when one does after all
 */
export async function withStoredControl<T>(
  config: ServiceConfig,
  work: (control: Control) => Promise<T>,
  warn: (facts: object, message: string) => void = complain,
): Promise<T> {
  makeFolder(config.dataDir, 'dataDir')
  checkOwner(config.dataDir, 'the service does not run, and ')
  const { store, keyFile } = await openServiceStore(config)
  try {
    const control = await startControl({
      store,
      dataDir: config.dataDir,
      keyFile,
      baseDomain: config.baseDomain,
      port: config.publicPort ?? config.listen.port,
      hashPassword,
      // A file is open to one process; to another database others may be waiting.
      isAlone: config.database.kind === 'sqlite',
      // What keeps the service from starting is mended here.
      acceptInvalidConfiguration: true,
      log: { debug() {}, info() {}, warn, error: complain },
    }).catch(
      explainKeyMismatch({
        key: serviceFiles(config).key,
        database: describeDatabase(config),
      }),
    )
    try {
      return await work(control)
    } finally {
      await control.close()
    }
  } finally {
    await store.close()
  }
}

/** For a person at a terminal, in place of a log. */
function complain(facts: object, message: string): void {
  const { problems = [], err } = facts as { problems?: readonly Problem[]; err?: Error }
  const lines = [message, ...problems.map(({ path, message }) => `  ${path}: ${message}`)]
  if (err) lines.push(`  ${err.message}`)
  for (const line of lines) process.stderr.write(`sallyport: ${toPrintable(line)}\n`)
}
