/**
 * Below it are the hosts of messages that go to an application through a connector. No name ends like this (RFC 6761 section
 * 6.4), so that what goes wrong with such a message goes nowhere.
 */
const reserved = 'connector.invalid'

/** The host that stands for an application behind its connector, where one has to be named. */
export function toDoorHost(applicationId: string): string {
  return `${applicationId}.${reserved}`
}

/** @returns ID of the application that the host stands for; undefined for every other host */
export function parseDoorHost(hostname: string): string | undefined {
  return hostname.endsWith(`.${reserved}`) ? hostname.slice(0, -reserved.length - 1) : undefined
}

/** What is wrong with whom a URL of the configuration names, whatever the URL is for. */
export function authorityProblem({ username, password, hostname }: URL): string | undefined {
  if (username || password) return 'must not hold a user name or password'
  // What goes there would come to some other application.
  const host = hostname.replace(/\.$/, '')
  if (host === reserved || parseDoorHost(host) !== undefined)
    return `must not name a host under ${reserved}, which is reserved for messages through connectors; name the host at which the application itself is reached`
  return undefined
}
