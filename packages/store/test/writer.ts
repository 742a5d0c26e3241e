// Writes rows until it is killed, and says each one that was acknowledged. Not a test itself.
import { writeSync } from 'node:fs'
import { openStore, settings } from '@sallyport/store'

const store = await openStore({ kind: 'sqlite', file: process.argv[2]! })
const start = Number(process.argv[3])
for (let index = start; ; index += 1) {
  // Two rows that belong together: after a crash there are both or none.
  await store.db.transaction().execute(async (db) => {
    await settings.saveSetting(db, `left-${index}`, 'x'.repeat(200))
    await settings.saveSetting(db, `right-${index}`, 'x'.repeat(200))
  })
  writeSync(1, `${index}\n`)
}
