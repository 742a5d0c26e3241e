import { randomUUID } from 'node:crypto'
import { applicationSchema, compileSnapshot, parseTarget } from '@sallyport/domain'
import { median } from './statistics.ts'

const LOOKUPS = 200_000
const DOMAIN = 'bench.localhost'

/** Nanoseconds to find the application of a request among `count`, any of them as likely. */
export function measureLookup(count: number): number {
  const applications = Array.from({ length: count }, (_, index) => ({
    application: applicationSchema.parse({
      id: randomUUID(),
      name: `app-${index}`,
      displayName: `Application ${index}`,
      externalUrl: `https://app-${index}.${DOMAIN}/`,
      internalUrl: `http://app-${index}.internal/`,
    }),
    principalIds: [],
  }))
  const snapshot = compileSnapshot({ applications, baseDomain: DOMAIN, port: 443, version: 1 })
  // The same work for each count: as many strings, made before, as a parser hands them over.
  const hosts = Array.from(
    { length: LOOKUPS },
    (_, index) => `app-${(index * 7919) % count}.${DOMAIN}`,
  )
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
