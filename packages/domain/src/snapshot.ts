import {
  type Application,
  type AssignedApplication,
  isLinked,
  type LinkedApplication,
} from './application.ts'
import type { SignOnHeader } from './sign-on/headers.ts'
import { toServicePrincipalName } from './sign-on/kerberos.ts'
import { oidcProblems } from './sign-on/oidc-endpoints.ts'
import { indexEntityIds, samlOwnUrlProblems, samlProblems } from './sign-on/saml-endpoints.ts'
import { parseTarget, type RequestTarget, readPath, TargetError } from './target.ts'

/** One thing that is wrong with a configuration, and where. */
export interface Problem {
  /** Such as `applications.hr.externalUrl`. */
  path: string
  /** What is wrong and what would be right. */
  message: string
}

/** A configuration that was refused as a whole; the one before it stays in force. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
  readonly code = 'CONFIGURATION_INVALID'
  readonly problems: readonly Problem[]
  constructor(problems: readonly Problem[]) {
    super(problems.map(({ path, message }) => `${path}: ${message}`).join('\n'))
    this.problems = problems
  }
}

/** An application with everything that a request needs worked out. */
export interface CompiledApplication {
  readonly application: Application
  /** IDs of the users and groups assigned. */
  readonly assigned: ReadonlySet<string>
  /** Host of the external URL, lower case, perhaps `*.` in front; no port. */
  readonly externalHost: string
  readonly externalPort: number
  /** Path of the external URL; begins and ends with `/`. */
  readonly externalPath: string
  readonly internalProtocol: 'http:' | 'https:'
  /** Host of the internal URL as in a URL (IPv6 in brackets), perhaps `*.` in front. */
  readonly internalHost: string
  readonly internalPort: number
  readonly internalPath: string
  /** What sign-on by headers sends; none with another method. */
  readonly headers: readonly SignOnHeader[]
}

/** A tile that leads elsewhere. It is none of the applications that requests are matched with. */
export interface CompiledLink {
  readonly application: LinkedApplication
  /** IDs of the users and groups assigned. */
  readonly assigned: ReadonlySet<string>
}

/** What one request found: the application and, under a wildcard, the label that filled it. */
export interface Match {
  readonly compiled: CompiledApplication
  /** What `*` stood for; undefined for an exact host. */
  readonly label: string | undefined
}

export interface SystemHosts {
  readonly login: string
  readonly admin: string
  readonly apps: string
  readonly connect: string
}

/** ID and client ID of the portal, which is an application like any other to sessions. */
export const PORTAL_APPLICATION_ID = '00000000-0000-4000-8000-5a11f0a70001'

/** The hosts that Sallyport itself answers on. */
export function systemHosts(baseDomain: string): SystemHosts {
  return {
    login: `login.${baseDomain}`,
    admin: `admin.${baseDomain}`,
    apps: `apps.${baseDomain}`,
    connect: `connect.${baseDomain}`,
  }
}

export interface SnapshotInput {
  applications: readonly AssignedApplication[]
  /** Such as `example.com`; lower case. */
  baseDomain: string
  /** The port in external URLs. */
  port: number
  /** Grows with each change. */
  version: number
}

interface HostRoutes {
  byPath: Map<string, CompiledApplication>
  /** Number of segments of the deepest path published on the host. */
  depth: number
  /** Whether a path published on the host has capitals: then a path without them can mean it too. */
  hasCapitals: boolean
}

/**
 * The whole configuration as requests see it: immutable, swapped as one reference.
 */
export class Snapshot {
  readonly version: number
  readonly baseDomain: string
  readonly port: number
  readonly hosts: SystemHosts
  /** Those that are published. */
  readonly applications: ReadonlyMap<string, CompiledApplication>
  /** Tiles of the portal beside those. */
  readonly links: readonly CompiledLink[]
  /** Names of all identity headers of all applications, as `canonicalFieldName` gives them. */
  readonly identityHeaders: ReadonlySet<string>
  readonly #routes: ReadonlyMap<string, HostRoutes>
  readonly #byEntityId: ReadonlyMap<string, CompiledApplication>

  constructor(
    input: SnapshotInput,
    applications: ReadonlyMap<string, CompiledApplication>,
    routes: ReadonlyMap<string, HostRoutes>,
    links: readonly CompiledLink[],
  ) {
    this.version = input.version
    this.baseDomain = input.baseDomain
    this.port = input.port
    this.hosts = systemHosts(input.baseDomain)
    this.applications = applications
    this.links = links
    this.#routes = routes
    this.#byEntityId = indexEntityIds(applications.values())
    const names = new Set<string>()
    for (const { application } of applications.values())
      for (const { name } of allHeadersOf(application)) names.add(canonicalFieldName(name))
    this.identityHeaders = names
  }

  findApplicationById(id: string): CompiledApplication | undefined {
    return this.applications.get(id)
  }

  /** @param entityId what a SAML application calls itself, by its external or its internal URL */
  findApplicationByEntityId(entityId: string): CompiledApplication | undefined {
    return this.#byEntityId.get(entityId)
  }

  /** Whether any application is published on the host, exactly or by a wildcard. */
  isPublishedHost(host: string): boolean {
    return this.#findHost(host) !== undefined
  }

  /** The applications that answer on a host, those with the shortest paths first. */
  findApplications(host: string): CompiledApplication[] {
    const all = new Set(this.#findHost(host)?.routes.byPath.values())
    return [...all]
      .filter((compiled) => this.applications.get(compiled.application.id) === compiled)
      .sort((a, b) => a.externalPath.length - b.externalPath.length)
  }

  /**
   * Finds the application that answers for a host and path: exact host before wildcard, then the longest published path
   * on segment boundaries. Its cost does not depend on the number of applications.
   *
   * @param host lower case, without port
   * @throws TargetError `TARGET_AMBIGUOUS` when another reading of the path would find another
   *   application, or would leave the published path at the origin
   */
  findApplication(host: string, target: RequestTarget): Match | undefined {
    const found = this.#findHost(host)
    if (!found) return undefined
    const compiled = findPath(found.routes, target.path)
    const readings =
      target.readings.length === 0 && found.routes.hasCapitals ? [target.path] : target.readings
    for (const reading of readings) {
      if (findPath(found.routes, reading, true) !== compiled)
        throw new TargetError(
          'TARGET_AMBIGUOUS',
          'request path can be read as one of another application',
        )
    }
    if (!compiled) return undefined
    if (target.readings.length > 0) checkStaysInside(compiled, target)
    return { compiled, label: found.label }
  }

  /**
   * Whether sign-in for an application may end at this URI: exactly
   * `https://<published host>[:port]/.sallyport/callback`.
   */
  redirectUriAllowed(applicationId: string, uri: string): boolean {
    if (!URL.canParse(uri)) return false
    const url = new URL(uri)
    const port = this.port === 443 ? '' : `:${this.port}`
    if (uri !== `https://${url.hostname}${port}/.sallyport/callback`) return false
    if (applicationId === PORTAL_APPLICATION_ID) return url.hostname === this.hosts.apps
    const compiled = this.applications.get(applicationId)
    if (!compiled) return false
    const found = this.#findHost(url.hostname)
    return found?.routes.byPath.get(compiled.externalPath) === compiled
  }

  #findHost(host: string): { routes: HostRoutes; label: string | undefined } | undefined {
    const exact = this.#routes.get(host)
    if (exact) return { routes: exact, label: undefined }
    const dot = host.indexOf('.')
    // A wildcard covers one label, and never a system host.
    if (dot <= 0 || Object.values(this.hosts).includes(host)) return undefined
    const wildcard = this.#routes.get(`*${host.slice(dot)}`)
    return wildcard && { routes: wildcard, label: host.slice(0, dot) }
  }
}

/** Header names that some origin cannot tell apart get one name: CGI turns all but letters and digits into `_`. */
export function canonicalFieldName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-')
}

function findPath(
  routes: HostRoutes,
  path: string,
  folded = false,
): CompiledApplication | undefined {
  if (routes.depth > 0) {
    // Ends of the first `depth` segments, longest first: /a/b/c -> /a/b/c/, /a/b/, /a/
    const ends: number[] = []
    for (let at = path.indexOf('/', 1), count = 0; count < routes.depth; count += 1) {
      if (at < 0) {
        if (path.length > 1) ends.push(path.length)
        break
      }
      ends.push(at)
      at = path.indexOf('/', at + 1)
    }
    for (let index = ends.length - 1; index >= 0; index -= 1) {
      const prefix = `${path.slice(0, ends[index])}/`
      const found = routes.byPath.get(folded ? `i:${prefix}` : prefix)
      if (found) return found
    }
  }
  return routes.byPath.get('/')
}

/** The rewritten path is checked again: what the origin may read must lie under the internal path. */
function checkStaysInside(compiled: CompiledApplication, target: RequestTarget): void {
  if (compiled.internalPath === '/') return
  const inside = compiled.internalPath.toLowerCase()
  for (const reading of readPath(toInternalPath(compiled, target.path)))
    if (!reading.startsWith(inside) && `${reading}/` !== inside)
      throw new TargetError('TARGET_AMBIGUOUS', 'request path can be read as one outside the app')
}

/** Replaces the external path's prefix by the internal one; the rest stays as it was sent. */
export function toInternalPath(compiled: CompiledApplication, path: string): string {
  const { externalPath, internalPath } = compiled
  if (externalPath === internalPath) return path
  // `/hr` names the same place as `/hr/`, and stays without its slash.
  if (path.length === externalPath.length - 1) return internalPath.slice(0, -1) || '/'
  return internalPath + path.slice(externalPath.length)
}

/** Headers of sign-on that an application has at any path. */
function allHeadersOf({ signOn }: Application): readonly SignOnHeader[] {
  if (signOn.method !== 'headers') return []
  return [signOn, ...(signOn.paths ?? [])].flatMap(({ headers }) => headers)
}

function compile(application: Application, principalIds: readonly string[]): CompiledApplication {
  const external = new URL(application.externalUrl)
  const internal = new URL(application.internalUrl)
  return {
    application,
    assigned: new Set(principalIds),
    externalHost: external.hostname,
    externalPort: Number(external.port || 443),
    externalPath: external.pathname,
    internalProtocol: internal.protocol as 'http:' | 'https:',
    internalHost: internal.hostname,
    internalPort: Number(internal.port || (internal.protocol === 'https:' ? 443 : 80)),
    internalPath: internal.pathname,
    headers: application.signOn.method === 'headers' ? application.signOn.headers : [],
  }
}

type Say = (field: string, message: string) => void

/** @returns the application that has the path already; it stays */
function addPath(
  host: HostRoutes,
  path: string,
  compiled: CompiledApplication,
): CompiledApplication | undefined {
  // Paths that differ in case alone would be one path to many an origin.
  const folded = path === '/' ? '/' : `i:${path.toLowerCase()}`
  const other = host.byPath.get(folded)
  if (other) return other
  host.byPath.set(path, compiled)
  host.byPath.set(folded, compiled)
  host.depth = Math.max(host.depth, path.split('/').length - 2)
  host.hasCapitals ||= path !== path.toLowerCase()
  return undefined
}

/**
 * A path with headers of its own is routed like an application, so that a request that could be read as one for another path is
 * refused.
 */
function addHeaderPaths(host: HostRoutes, compiled: CompiledApplication, say: Say): void {
  const { signOn } = compiled.application
  if (signOn.method !== 'headers') return
  for (const [index, { path, headers }] of (signOn.paths ?? []).entries()) {
    const field = `signOn.paths.${index}.path`
    if (!path.startsWith(compiled.externalPath) || path === compiled.externalPath)
      say(field, `must lie below ${compiled.externalPath}, the path of the external URL`)
    else {
      const other = addPath(host, path, { ...compiled, headers })
      if (other) say(field, `is already used by the application ${other.application.name}`)
    }
  }
}

/** The connector says to the origin who the person is. */
const connectorMethods: ReadonlySet<string> = new Set(['kerberos', 'password'])

function findSignOnProblem({ application, internalHost }: CompiledApplication): string | undefined {
  const { signOn } = application
  if (signOn.method !== 'kerberos' && signOn.method !== 'password') return undefined
  if (application.preAuthentication !== 'identity')
    return `${signOn.method} signs on the person who signed in, whom passthrough does not ask for`
  if (signOn.method === 'password')
    return internalHost.startsWith('*.')
      ? 'a password is kept for one host; the internal URL must not be a wildcard'
      : undefined
  const pattern = signOn.kerberosServicePrincipalName
  const host = internalHost.replace(/^\*/, 'any')
  if (toServicePrincipalName(pattern, host) === undefined)
    return `${pattern} does not cover the host ${internalHost} of the internal URL`
  return undefined
}

/**
 * Compiles and validates a configuration as a whole.
 *
 * @throws ConfigurationError with every problem, each with its path
 */
export function compileSnapshot(input: SnapshotInput): Snapshot {
  const problems: Problem[] = []
  const hosts = Object.values(systemHosts(input.baseDomain))
  const applications = new Map<string, CompiledApplication>()
  const routes = new Map<string, HostRoutes>()
  const names = new Set<string>()
  const mixed = new Map<string, CompiledApplication[]>()
  const withPaths: { host: HostRoutes; compiled: CompiledApplication; say: Say }[] = []
  const entityIds = new Map<string, string>()
  const ids = new Set([PORTAL_APPLICATION_ID])
  const links: CompiledLink[] = []
  for (const { application, principalIds } of input.applications) {
    const path = `applications.${application.name}`
    const say: Say = (field, message) => problems.push({ path: `${path}.${field}`, message })
    if (names.has(application.name)) say('name', 'is used by another application')
    names.add(application.name)
    if (ids.has(application.id)) say('id', 'is used by another application')
    ids.add(application.id)
    if (isLinked(application)) {
      links.push({ application, assigned: new Set(principalIds) })
      continue
    }
    const compiled = compile(application, principalIds)
    const { externalHost, externalPath } = compiled
    applications.set(application.id, compiled)
    if (hosts.includes(externalHost))
      say('externalUrl', `${externalHost} is a host of Sallyport itself; choose another`)
    if (compiled.externalPort !== input.port)
      say('externalUrl', `must use port ${input.port}, on which the service is reached`)
    if (compiled.internalHost.startsWith('*.') && !externalHost.startsWith('*.'))
      say('internalUrl', 'may be a wildcard only if the external URL is one')
    if (application.connectionAuthentication && connectorMethods.has(application.signOn.method))
      say(
        'connectionAuthentication',
        `is for people who sign in to the application themselves, and ${application.signOn.method} does that for them`,
      )
    const signOnProblem = findSignOnProblem(compiled)
    if (signOnProblem) say('signOn', signOnProblem)
    for (const { field, message } of samlProblems(compiled, entityIds)) say(field, message)
    let host = routes.get(externalHost)
    if (!host) {
      host = { byPath: new Map(), depth: 0, hasCapitals: false }
      routes.set(externalHost, host)
    }
    const other = addPath(host, externalPath, compiled)
    if (other) say('externalUrl', `is already used by the application ${other.application.name}`)
    withPaths.push({ host, compiled, say })
    const origin = `${compiled.internalProtocol}//${compiled.internalHost}:${compiled.internalPort}`
    for (const key of [`host ${externalHost}`, `origin ${origin}`])
      mixed.set(key, [...(mixed.get(key) ?? []), compiled])
  }
  // After all applications: one that is published at the same path goes first.
  for (const { host, compiled, say } of withPaths) addHeaderPaths(host, compiled, say)
  for (const [key, group] of mixed) {
    const kinds = new Set(group.map(({ application }) => application.preAuthentication))
    if (kinds.size < 2) continue
    for (const { application } of group)
      if (
        application.preAuthentication === 'passthrough' &&
        !application.allowMixedPreAuthentication
      )
        problems.push({
          path: `applications.${application.name}.preAuthentication`,
          message: `the ${key} is also published with pre-authentication identity; set allowMixedPreAuthentication to accept that`,
        })
  }
  const snapshot = new Snapshot(input, applications, routes, links)
  for (const { compiled, say } of withPaths)
    for (const { field, message } of [
      ...oidcProblems(compiled, snapshot),
      ...samlOwnUrlProblems(compiled, snapshot),
    ])
      say(field, message)
  if (problems.length > 0) throw new ConfigurationError(problems)
  return snapshot
}

/** For callers that hold a target as text. */
export function findApplicationAt(
  snapshot: Snapshot,
  host: string,
  target: string,
): Match | undefined {
  return snapshot.findApplication(host, parseTarget(target))
}
