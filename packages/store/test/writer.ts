// Writes rows until it is killed, and says each one that was acknowledged. Not a test itself.
import { openStore, settings } from '@sallyport/store'
import { sql } from 'kysely'

const { password, checkpointPages, ...options } = JSON.parse(process.argv[2]!)
const start = Number(process.argv[3])
const store = await openStore({ ...options, password: async () => password })
if (checkpointPages)
  await sql`PRAGMA wal_autocheckpoint = ${sql.lit(checkpointPages)}`.execute(store.db)
for (let index = start; ; index += 1) {
  const value = 'x'.repeat(200 + ((index * 7_919) % 6_000))
  // Two rows that belong together: after a crash there are both or none.
  await store.change(async (db) => {
    await settings.saveSetting(db, `left-${index}`, value)
    await settings.saveSetting(db, `right-${index}`, value)
  })
  // A reader that is slow must be waited for.
  await new Promise((resolve) => process.stdout.write(`${index}\n`, resolve))
}
