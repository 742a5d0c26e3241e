import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { openStore, type Store, type StoreOptions } from '@sallyport/store'
import { Postgres } from '@sallyport/testkit/postgres'
import { lastFirst, type Scope } from '@sallyport/testkit/scope'

/** A database of one test; every opening is of the same one. */
export interface TestDatabase {
  kind: StoreOptions['kind']
  options: StoreOptions
  /** Closes when the test ends, however it ends: closing twice does nothing. */
  open(more?: { waitLimitMs?: number }): Promise<Store>
}

/** A PostgreSQL for the tests of one file. @returns what is there as soon as tests run */
export function startPostgres(): () => Postgres {
  let postgres: Postgres
  const scope = lastFirst({ after })
  before(async () => {
    postgres = await Postgres.start(scope)
  })
  return () => postgres
}

/** Defines tests that both databases must pass. */
export function forBoth(): (
  name: string,
  body: (t: TestContext, database: TestDatabase) => Promise<void>,
) => void {
  const postgres = startPostgres()
  return (name, body) => {
    test(`${name} (SQLite)`, async (t) => {
      const scope = lastFirst(t)
      await body(t, useDatabase(scope, { kind: 'sqlite', file: await makeFile(scope) }))
    })
    test(`${name} (PostgreSQL)`, async (t) =>
      body(t, useDatabase(lastFirst(t), await postgres().createDatabase())))
  }
}

export function useDatabase(scope: Scope, options: StoreOptions): TestDatabase {
  return {
    kind: options.kind,
    options,
    async open(more = {}) {
      const store = await openStore({ ...options, ...more })
      scope.after(() => store.close())
      return store
    },
  }
}

/** Where no database is yet, in a folder that goes with the test. */
export async function makeFile(scope: Scope): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-store-'))
  scope.after(() => rm(directory, { recursive: true }))
  return join(directory, 'data', 'sallyport.db')
}
