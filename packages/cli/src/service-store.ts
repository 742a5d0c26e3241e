import { readFileSync, statSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { KeyFile } from '@sallyport/control'
import { ConfigurationError } from '@sallyport/domain'
import {
  describeServer,
  openStore,
  type Store,
  StoreError,
  type StoreOptions,
  settings,
} from '@sallyport/store'
import { type ServiceConfig, serviceFiles } from './config.ts'
import { usesTls } from './database-config.ts'
import { openServiceKey } from './service-key.ts'

/** What the store tells, until it is closed. */
export interface StoreHooks {
  /** A PostgreSQL is not there yet, such as when machines start together: it is waited for. Default: it is not. */
  onWaiting?: (error: StoreError) => void
  /** It cannot go on, and the process should end. */
  onFailure?: (error: StoreError) => void
  /** The connection to a PostgreSQL broke (with why), or is there again (undefined). */
  onConnection?: (error: StoreError | undefined) => void
  /** Something beside the requests failed, and will be tried again. */
  onError?: (error: unknown) => void
}

/**
 * Opens the database that the configuration names, and the key that belongs to it.
 *
 * @throws CommandError, ConfigurationError, ControlError `KEY_FILE_INVALID`, StoreError
 */
export async function openServiceStore(
  config: ServiceConfig,
  hooks: StoreHooks = {},
): Promise<{ store: Store; keyFile: KeyFile }> {
  const { onWaiting, ...storeHooks } = hooks
  const { key, database } = serviceFiles(config)
  const options = toStoreOptions(config)
  if (options.kind === 'sqlite') {
    // The key first: a first start that is interrupted leaves a key without a database, and not the other way round.
    const keyFile = openServiceKey({ key, database, isMade: fileExists(database) })
    return { keyFile, store: await openStore({ ...options, ...storeHooks }) }
  }
  const store = await openPatiently(() => openStore({ ...options, ...storeHooks }), onWaiting)
  try {
    const isMade = (await settings.findSetting(store.db, 'tenantId')) !== undefined
    return { store, keyFile: openServiceKey({ key, database: describeDatabase(config), isMade }) }
  } catch (error) {
    await store.close()
    throw error
  }
}

/** Longer than systemd needs to lose its patience with a service that ends at once. */
const patienceMs = 60_000
const pauseMs = 500

async function openPatiently(
  open: () => Promise<Store>,
  onWaiting: StoreHooks['onWaiting'],
): Promise<Store> {
  const endsAt = performance.now() + patienceMs
  for (;;) {
    try {
      return await open()
    } catch (error) {
      const isAway = error instanceof StoreError && error.code === 'STORE_UNREACHABLE'
      if (!isAway || !onWaiting || performance.now() > endsAt) throw error
      onWaiting(error)
      await delay(pauseMs)
    }
  }
}

/** The one database waits inside its transaction while a large table is compared in the other. */
const idleLimitMs = 12 * 3_600_000

/**
 * Opens the database that the configuration names, and closes it to everybody else.
 *
 * @throws ConfigurationError, StoreError `STORE_IN_USE` and others
 */
export function openAlone(config: ServiceConfig): Promise<Store> {
  const options = toStoreOptions(config)
  // An SQLite file is open to one process at most.
  if (options.kind === 'sqlite') return openStore(options)
  return openStore({ ...options, exclusive: true, answerLimitMs: idleLimitMs })
}

/** @throws ConfigurationError when a file that it names cannot be used */
export function toStoreOptions(config: ServiceConfig): StoreOptions {
  const { database } = config
  if (database.kind === 'sqlite') return { kind: 'sqlite', file: serviceFiles(config).database }
  const { passwordFile, caFile, url } = database
  const tls = usesTls(database)
    ? { ca: caFile === undefined ? undefined : readText(caFile, 'database.caFile') }
    : false
  if (passwordFile === undefined) return { kind: 'postgresql', ...url, tls }
  readPassword(passwordFile)
  const password = async () => {
    try {
      return readPassword(passwordFile)
    } catch (cause) {
      throw new StoreError('STORE_ACCESS_DENIED', (cause as Error).message, { cause })
    }
  }
  return { kind: 'postgresql', ...url, tls, password }
}

/** As people know it: a file, or a server and the name there. */
export function describeDatabase(config: ServiceConfig): string {
  const { database } = config
  return database.kind === 'sqlite' ? serviceFiles(config).database : describeServer(database.url)
}

function readPassword(path: string): string {
  const name = 'database.passwordFile'
  const text = readText(path, name).replace(/\r?\n$/, '')
  if ((statSync(path).mode & 0o007) !== 0)
    throw refuse(name, `${path} can be read by everybody; run: chmod o= ${path}`)
  if (text === '' || /[\0\r\n]/.test(text))
    throw refuse(name, `${path} must hold the password in its only line`)
  return text
}

function readText(path: string, name: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw refuse(name, `${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

function refuse(path: string, message: string): ConfigurationError {
  return new ConfigurationError([{ path, message }])
}

function fileExists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}
