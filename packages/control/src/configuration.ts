import {
  type AccessEvent,
  type AssignedApplication,
  ConfigurationError,
  compileSnapshot,
  isLinked,
  type Problem,
  type Snapshot,
  type SnapshotInput,
} from '@sallyport/domain'
import { applications, audit, connectorGroups, type Store, settings } from '@sallyport/store'
import { ControlError } from './errors.ts'
import type { Log } from './log.ts'
import { Rereading } from './rereading.ts'

export type Db = Store['db']

export interface ConfigurationOptions {
  store: Store
  baseDomain: string
  port: number
  clock: () => number
  log: Log
  /** Starts with an invalid configuration, so that it can be mended; no application is published then. */
  acceptInvalid: boolean
}

/** What one change does, all of it or nothing. */
export interface Change {
  /** The transaction. */
  readonly db: Db
  readonly actor: string
  readonly nowAt: number
  /** What to tell everybody once it is committed. */
  publish(events: readonly AccessEvent[]): void
  /** `detail` must not hold a secret. */
  audit(kind: string, subject: string, detail?: Record<string, unknown>): Promise<void>
  /** Problems of this application are said without its name in front. */
  about(applicationName: string): void
}

const versionKey = 'configurationVersion'

/** The snapshot in force, and the one way to change what is stored. */
export class Configuration {
  readonly #options: ConfigurationOptions
  readonly #listeners = new Set<(snapshot: Snapshot) => void>()
  readonly #ownEvents = new WeakSet<AccessEvent>()
  readonly #unsubscribe: () => void
  #snapshot: Snapshot
  /** Problems of the stored configuration itself; a change may leave them, and add none. */
  #accepted: readonly Problem[]
  readonly #rereading: Rereading

  private constructor(options: ConfigurationOptions, compiled: Compiled) {
    this.#options = options
    this.#snapshot = compiled.snapshot ?? compileNothing(options, compiled.version)
    this.#accepted = compiled.problems
    this.#rereading = new Rereading(
      () => this.reload(),
      (error) =>
        options.log.error(
          { err: error },
          'the configuration could not be read; the old one stays until it can',
        ),
    )
    this.#unsubscribe = options.store.feed.subscribe((event) => {
      // Somebody else changed it: another process, or a caller of the store.
      if (event.kind === 'configuration-changed' && !this.#ownEvents.has(event))
        this.#rereading.request()
    })
  }

  /** @throws ControlError `CONFIGURATION_INVALID` unless that is accepted */
  static async load(options: ConfigurationOptions): Promise<Configuration> {
    const compiled = await compile(options.store.db, options)
    if (compiled.problems.length > 0) {
      if (!options.acceptInvalid) throw configurationInvalid(compiled.problems)
      options.log.warn({ problems: compiled.problems }, 'the stored configuration is invalid')
    }
    return new Configuration(options, compiled)
  }

  get snapshot(): Snapshot {
    return this.#snapshot
  }

  onSnapshot(listener: (snapshot: Snapshot) => void): () => void {
    const own = (snapshot: Snapshot) => listener(snapshot)
    this.#listeners.add(own)
    return () => {
      this.#listeners.delete(own)
    }
  }

  /**
   * Runs `work` in a transaction. If it changes the configuration, the would-be configuration is
   * compiled before anything is stored; then it is committed, swapped in, and told to everybody.
   *
   * @throws ControlError `CONFIGURATION_INVALID` when the configuration would not compile; nothing has
   *   changed then
   */
  async change<T>(actor: string, work: (change: Change) => Promise<T>): Promise<T> {
    const { store, clock } = this.#options
    let compiled: Compiled | undefined
    return store.change(
      async (db, announce) => {
        const nowAt = clock()
        const events: AccessEvent[] = []
        let prefix: string | undefined
        compiled = undefined
        const outcome = await work({
          db,
          actor,
          nowAt,
          publish: (more) => events.push(...more),
          audit: (kind, subject, detail = {}) =>
            audit.recordAudit(db, { at: nowAt, kind, actor, subject, detail }),
          about: (applicationName) => {
            prefix = `applications.${applicationName}.`
          },
        })
        if (events.some(({ kind }) => kind === 'configuration-changed')) {
          await raiseVersion(db)
          compiled = await compile(db, this.#options)
          const added = compiled.problems.filter((problem) => !includes(this.#accepted, problem))
          if (added.length > 0) throw configurationInvalid(added, prefix)
        }
        announce(events)
        return outcome
      },
      (events) => {
        if (compiled) this.#swap(compiled)
        for (const event of events) this.#ownEvents.add(event)
      },
    )
  }

  /**
   * What would be wrong with such a configuration, and is not wrong already.
   *
   * @param connectorGroups their names
   */
  problemsOf(
    applications: readonly AssignedApplication[],
    connectorGroups: ReadonlySet<string>,
  ): Problem[] {
    const { baseDomain, port } = this.#options
    const { version } = this.#snapshot
    return check({ applications, baseDomain, port, version }, connectorGroups).problems.filter(
      (problem) => !includes(this.#accepted, problem),
    )
  }

  async close(): Promise<void> {
    this.#unsubscribe()
    this.#listeners.clear()
    await this.#rereading.close()
  }

  #swap(compiled: Compiled): void {
    // Changes are committed in order, but nothing promises that they arrive here in order.
    if (compiled.version < this.#snapshot.version) return
    this.#accepted = compiled.problems
    if (!compiled.snapshot) return
    this.#snapshot = compiled.snapshot
    for (const listener of [...this.#listeners]) {
      try {
        listener(this.#snapshot)
      } catch (error) {
        // A broken listener must not keep the events of the change from the feed.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  /**
   * Reads what is stored, and puts it into force if it is valid.
   *
   * @throws StoreError when it could not be read
   */
  async reload(): Promise<void> {
    const { store, log } = this.#options
    const compiled = await compile(store.db, this.#options)
    if (compiled.problems.length > 0)
      log.error(
        { problems: compiled.problems },
        'the stored configuration is invalid; the one before it stays in force',
      )
    else this.#swap(compiled)
  }
}

interface Compiled {
  version: number
  /** Undefined when there are problems. */
  snapshot: Snapshot | undefined
  problems: readonly Problem[]
}

async function compile(
  db: Db,
  { baseDomain, port }: Pick<ConfigurationOptions, 'baseDomain' | 'port'>,
): Promise<Compiled> {
  const version = Number((await settings.findSetting(db, versionKey)) ?? 0)
  const assigned = await applications.listAssignedApplications(db)
  const groups = new Set((await connectorGroups.listConnectorGroups(db)).map(({ name }) => name))
  return check({ applications: assigned, baseDomain, port, version }, groups)
}

/** @param groups names of the connector groups */
function check(input: SnapshotInput, groups: ReadonlySet<string>): Compiled {
  const { version } = input
  const problems: Problem[] = []
  for (const { application } of input.applications)
    if (!isLinked(application) && !groups.has(application.connectorGroup))
      problems.push({
        path: `applications.${application.name}.connectorGroup`,
        message: `there is no connector group "${application.connectorGroup}"; create it, or use one of: ${[...groups].join(', ')}`,
      })
  try {
    const snapshot = compileSnapshot(input)
    return { version, snapshot: problems.length === 0 ? snapshot : undefined, problems }
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    return { version, snapshot: undefined, problems: [...error.problems, ...problems] }
  }
}

function compileNothing(options: ConfigurationOptions, version: number): Snapshot {
  const { baseDomain, port } = options
  return compileSnapshot({ applications: [], baseDomain, port, version })
}

async function raiseVersion(db: Db): Promise<void> {
  const version = Number((await settings.findSetting(db, versionKey)) ?? 0)
  await settings.saveSetting(db, versionKey, String(version + 1))
}

function includes(problems: readonly Problem[], { path, message }: Problem): boolean {
  return problems.some((other) => other.path === path && other.message === message)
}

function configurationInvalid(problems: readonly Problem[], prefix?: string): ControlError {
  const said = problems.map(({ path, message }) => ({
    path: prefix !== undefined && path.startsWith(prefix) ? path.slice(prefix.length) : path,
    message,
  }))
  return new ControlError(
    'CONFIGURATION_INVALID',
    said.map(({ path, message }) => `${path}: ${message}`).join('\n'),
    { problems: said },
  )
}
