import {
  applicationSchema,
  type CompiledApplication,
  canonicalFieldName,
  type Match,
  PORTAL_APPLICATION_ID,
  type RequestTarget,
  type Snapshot,
} from '@sallyport/domain'
import { signsOnAtConnector } from './assertions.ts'
import { copyText } from './field-names.ts'
import { FieldFilter } from './to-origin.ts'

/** Where an application's requests go, by the names that origin and connector know. */
export interface Destination {
  /** For `Host`: the port left out if it is the scheme's. */
  readonly host: string
  /** `http://host[:port]`, as URLs that the origin writes begin. */
  readonly origin: string
  /** For the connector, JSON in UTF-8, each byte one latin1 character; the same for each request of an application. */
  readonly instruction: string
  /** The same for what shall become a WebSocket. */
  readonly upgradeInstruction: string
}

/** Labels that fill wildcards come from clients: the memory must not grow with them. */
const limitLabels = 10_000

/** A Snapshot, and what is worked out from it once instead of for each request. */
export class View {
  readonly snapshot: Snapshot
  readonly #fieldFilter: FieldFilter
  /** Of applications that have headers removed beside those of sign-on, by ID. */
  readonly #ownFilters = new Map<string, FieldFilter>()
  readonly portal: Match
  /** Whether connectors keep anything of people who use an application. */
  readonly signsOnAtConnectors: boolean
  readonly #ofExactHosts = new Map<CompiledApplication, Destination>()
  readonly #ofLabels = new Map<string, Destination>()
  /** By external host; few applications have one. */
  readonly #idleLimits = new Map<string, number>()

  /** @param ownFields lower case; fields that clients have no say in, beside those that are so always */
  constructor(snapshot: Snapshot, ownFields: ReadonlySet<string> = new Set()) {
    this.snapshot = snapshot
    this.#fieldFilter = new FieldFilter(snapshot, ownFields)
    for (const { application } of snapshot.applications.values())
      if (application.stripHeaders.length > 0)
        this.#ownFilters.set(
          application.id,
          new FieldFilter(
            snapshot,
            new Set([...ownFields, ...application.stripHeaders.map(canonicalFieldName)]),
          ),
        )
    this.signsOnAtConnectors = [...snapshot.applications.values()].some(signsOnAtConnector)
    this.portal = { compiled: portalApplication(snapshot), label: undefined }
    for (const { application, externalHost } of snapshot.applications.values()) {
      const { idleLimitMs = Number.POSITIVE_INFINITY } = application
      const limitMs = Math.min(idleLimitMs, this.#idleLimits.get(externalHost) ?? idleLimitMs)
      if (limitMs < Number.POSITIVE_INFINITY) this.#idleLimits.set(externalHost, limitMs)
    }
  }

  /** What becomes of the fields of clients on their way to the application. */
  fieldFilter({ application }: CompiledApplication): FieldFilter {
    return this.#ownFilters.size === 0
      ? this.#fieldFilter
      : (this.#ownFilters.get(application.id) ?? this.#fieldFilter)
  }

  /** How long nobody may have asked the application's host for anything, milliseconds; undefined: no limit. */
  idleLimitOf({ externalHost }: CompiledApplication): number | undefined {
    return this.#idleLimits.size === 0 ? undefined : this.#idleLimits.get(externalHost)
  }

  /** Whether requests for the host have anything to find. */
  isServed(host: string): boolean {
    return host === this.snapshot.hosts.apps || this.snapshot.isPublishedHost(host)
  }

  /** @throws TargetError `TARGET_AMBIGUOUS` */
  findApplication(host: string, target: RequestTarget): Match | undefined {
    return host === this.snapshot.hosts.apps
      ? this.portal
      : this.snapshot.findApplication(host, target)
  }

  /** The application that a sign-in without a page to return to is for: the first of the host that needs one. */
  findSignInApplication(host: string): CompiledApplication | undefined {
    return this.#applicationsOf(host).find(
      ({ application }) => application.preAuthentication === 'identity',
    )
  }

  /** Where people begin on a host: the shortest path that an application has there. */
  findStartPath(host: string): string | undefined {
    return this.#applicationsOf(host)[0]?.externalPath
  }

  #applicationsOf(host: string): CompiledApplication[] {
    return host === this.snapshot.hosts.apps
      ? [this.portal.compiled]
      : this.snapshot.findApplications(host)
  }

  destination({ compiled, label }: Match): Destination {
    if (label === undefined) {
      const known = this.#ofExactHosts.get(compiled)
      if (known) return known
      const destination = toDestination(compiled, compiled.internalHost)
      this.#ofExactHosts.set(compiled, destination)
      return destination
    }
    const key = `${compiled.application.id} ${label}`
    const known = this.#ofLabels.get(key)
    if (known) return known
    const destination = toDestination(
      compiled,
      copyText(compiled.internalHost.replace(/^\*/, label)),
    )
    if (this.#ofLabels.size >= limitLabels) this.#ofLabels.clear()
    this.#ofLabels.set(key, destination)
    return destination
  }
}

function toDestination(compiled: CompiledApplication, name: string): Destination {
  const { application, internalProtocol, internalPort } = compiled
  const isDefaultPort = internalPort === (internalProtocol === 'https:' ? 443 : 80)
  const host = isDefaultPort ? name : `${name}:${internalPort}`
  const instruction = {
    v: 1,
    app: application.id,
    url: `${internalProtocol}//${name}:${internalPort}`,
    validate: application.validateBackendCertificate,
    timeoutMs: application.backendTimeoutMs,
  }
  return {
    host,
    origin: `${internalProtocol}//${host}`,
    instruction: toUtf8(JSON.stringify(instruction)),
    upgradeInstruction: toUtf8(JSON.stringify({ ...instruction, upgrade: true })),
  }
}

function toUtf8(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/** The portal as sessions and sign-in see it: everybody who is signed in may open it. */
function portalApplication(snapshot: Snapshot): CompiledApplication {
  const port = snapshot.port === 443 ? '' : `:${snapshot.port}`
  const url = `https://${snapshot.hosts.apps}${port}/`
  const application = applicationSchema.parse({
    id: PORTAL_APPLICATION_ID,
    name: 'portal',
    displayName: 'Your applications',
    externalUrl: url,
    internalUrl: url,
    assignmentRequired: false,
    visible: false,
  })
  return {
    application,
    assigned: new Set(),
    externalHost: snapshot.hosts.apps,
    externalPort: snapshot.port,
    externalPath: '/',
    internalProtocol: 'https:',
    internalHost: snapshot.hosts.apps,
    internalPort: snapshot.port,
    internalPath: '/',
    headers: [],
  }
}
