import { randomUUID } from 'node:crypto'
import { applicationSchema, compileSnapshot, parseTarget, type Snapshot } from '@sallyport/domain'
import { median } from './statistics.ts'

const LOOKUPS = 200_000
const DOMAIN = 'bench.localhost'

/** Nanoseconds to find the application of a request among `apps`. */
export interface LookupTime {
  apps: number
  /** Requests for 16 of them, or for all if there are fewer. */
  fewNs: number
  /** Any of them as likely: each look-up finds cold caches, and that is what it costs. */
  anyNs: number
}

export function measureLookup(apps: number): LookupTime {
  const applications = Array.from({ length: apps }, (_, index) => ({
    application: applicationSchema.parse({
      id: randomUUID(),
      name: `app-${index}`,
      displayName: `Application ${index}`,
      externalUrl: `https://${hostOf(index)}/`,
      internalUrl: `http://app-${index}.internal/`,
    }),
    principalIds: [],
  }))
  const snapshot = compileSnapshot({ applications, baseDomain: DOMAIN, port: 443, version: 1 })
  return {
    apps,
    fewNs: timeLookups(snapshot, Math.min(apps, 16)),
    anyNs: timeLookups(snapshot, apps),
  }
}

function timeLookups(snapshot: Snapshot, among: number): number {
  // The same work for each count: as many strings, made before, as a parser hands them over.
  const hosts = Array.from({ length: LOOKUPS }, (_, index) => hostOf((index * 7919) % among))
  const target = parseTarget('/reports/2031/q3?view=all')
  const times = Array.from({ length: 7 }, () => {
    let found = 0
    const startedAt = process.hrtime.bigint()
    for (const host of hosts) if (snapshot.findApplication(host, target)) found += 1
    const tookNs = Number(process.hrtime.bigint() - startedAt)
    if (found !== LOOKUPS) throw new Error(`only ${found} of ${LOOKUPS} were found`)
    return tookNs / LOOKUPS
  })
  return median(times)
}

function hostOf(index: number): string {
  return `app-${index}.${DOMAIN}`
}
