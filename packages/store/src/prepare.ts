import type { Compilable, CompiledQuery, DialectAdapter, Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** Stands in a query for a value that each run brings along. */
export type Slots<Values> = <Name extends keyof Values & string>(name: Name) => Values[Name]

class Slot {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }
}

/**
 * A query that is put together once for each database, where to do so for every run costs more than to
 * run it: for what every sign-in asks.
 *
 * @param build must give the same query each time; `value` names what differs from run to run
 * @returns runs it, in the caller's transaction if `db` is one, and gives its rows
 */
export function prepare<Values extends Record<string, string | number | null>, Row>(
  build: (db: Kysely<Database>, value: Slots<Values>) => Compilable<Row>,
): (db: Kysely<Database>, values: Values) => Promise<Row[]> {
  // A transaction has the adapter of its database.
  const compiled = new WeakMap<DialectAdapter, CompiledQuery<Row>>()
  return async (db, values) => {
    const { adapter } = db.getExecutor()
    let query = compiled.get(adapter)
    if (!query) {
      query = build(db, (name) => new Slot(name) as never).compile()
      compiled.set(adapter, query)
    }
    const parameters = query.parameters.map((parameter) =>
      parameter instanceof Slot ? values[parameter.name] : parameter,
    )
    return (await db.executeQuery<Row>({ ...query, parameters })).rows
  }
}
