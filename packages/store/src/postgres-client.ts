import { isIP } from 'node:net'
import pg from 'pg'
import { StoreError } from './errors.ts'
import { toStoreError } from './postgres-errors.ts'
import { describeServer, type PostgresServer } from './postgres-server.ts'

/** First version that is supported, as `server_version_num` has it. */
const firstVersion = 150_000
const connectLimitMs = 5_000
/** How long to wait, milliseconds. */
export interface PostgresLimits {
  /** For a lock, and so for the changes before. */
  waitLimitMs: number
  /** For an answer: longer than for a lock, so that the server's own answer comes first. */
  answerLimitMs: number
}

const int8 = 20

/** What belongs to whom among the advisory locks of the database; the first number says that they are ours. */
export const advisoryLocks = { changes: '1396788329, 1', services: '1396788329, 2' } as const

/** What pg is told. Every value is given, so that no PG variable of the environment counts. */
export function toClientConfig(
  server: PostgresServer,
  { waitLimitMs, answerLimitMs }: PostgresLimits,
): pg.ClientConfig {
  const { host, port, database, user, tls } = server
  return {
    host,
    port,
    database,
    user,
    password: server.password ?? refusePassword,
    // With a socket given, Node compares the certificate with `localhost` unless it is told the address.
    ssl: tls === false ? false : { ...tls, ...(isIP(host) ? { host } : {}) },
    application_name: 'sallyport',
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: connectLimitMs,
    lock_timeout: waitLimitMs,
    query_timeout: answerLimitMs,
    // Whoever is cut off inside a transaction holds everybody up.
    idle_in_transaction_session_timeout: answerLimitMs,
    types: { getTypeParser: findParser as typeof pg.types.getTypeParser },
  }
}

function findParser(oid: number, format?: 'text' | 'binary') {
  return oid === int8 ? parseInteger : pg.types.getTypeParser(oid, format as 'text')
}

/** bigint, and what count(*) gives. */
function parseInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`${text} is past 2^53`)
  return value
}

/** Sees to it that what the server acknowledges is on its disk, whatever the default of the database is. */
export async function prepareConnection(client: pg.ClientBase): Promise<void> {
  await client.query(
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
  )
}

/**
 * A connection outside of the pool.
 *
 * @param onLost it broke by itself; told at most once
 * @throws StoreError `STORE_UNREACHABLE`, `STORE_ACCESS_DENIED`, `STORE_MISSING`, `STORE_UNTRUSTED`, `STORE_TOO_OLD`
 */
export async function connectClient(
  server: PostgresServer,
  limits: PostgresLimits,
  onLost: (error: unknown) => void,
): Promise<pg.Client> {
  const client = new pg.Client(toClientConfig(server, limits))
  const place = describeServer(server)
  let told = false
  const tell = (error: unknown) => {
    if (told) return
    told = true
    onLost(toStoreError(error, place))
  }
  client.on('error', tell)
  client.on('end', () => tell(new Error('the connection ended')))
  try {
    await client.connect()
    await checkVersion(client, place)
    return client
  } catch (error) {
    told = true
    await endClient(client)
    throw toStoreError(error, place)
  }
}

/** Ends it whatever state it is in: a broken connection is not asked to say goodbye. */
export async function endClient(client: pg.Client): Promise<void> {
  const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } })
    .connection
  const timer = setTimeout(() => stream.destroy(), 1_000)
  await client.end().catch(() => stream.destroy())
  clearTimeout(timer)
}

async function checkVersion(client: pg.Client, place: string): Promise<void> {
  const { rows } = await client.query<{ number: string; version: string }>(
    "SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS version",
  )
  const [{ number, version } = { number: '0', version: 'unknown' }] = rows
  if (Number(number) < firstVersion)
    throw new StoreError(
      'STORE_TOO_OLD',
      `${place}: is PostgreSQL ${version}; Sallyport needs version 15 or later`,
    )
}

async function refusePassword(): Promise<never> {
  throw new StoreError(
    'STORE_ACCESS_DENIED',
    'the database asks for a password, and none is configured; set database.passwordFile',
  )
}
