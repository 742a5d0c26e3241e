import type { CompiledApplication, Snapshot } from '../snapshot.ts'
import { isReservedTarget, parseTarget, TargetError } from '../target.ts'

/**
 * What an application calls an address of its own, as people reach it: one below the internal URL becomes one below the
 * external URL. Others stay as they are.
 *
 * @param url of the application's metadata, or of a request
 */
export function toExternalUrl(
  compiled: Pick<CompiledApplication, 'application'>,
  url: string,
): string {
  const { internalUrl, externalUrl } = compiled.application
  return replacePrefix(url, internalUrl, externalUrl)
}

/** The other way: what an application that believes in its internal URL calls an address. */
export function toInternalUrl(
  compiled: Pick<CompiledApplication, 'application'>,
  url: string,
): string {
  const { internalUrl, externalUrl } = compiled.application
  return replacePrefix(url, externalUrl, internalUrl)
}

function replacePrefix(url: string, from: string, to: string): string {
  // Origins spell their default port out or not; URL() is of one mind.
  const written = URL.canParse(url) ? new URL(url).href : url
  const prefix = new URL(from).href
  if (written === prefix.slice(0, -1)) return to.slice(0, -1)
  return written.startsWith(prefix) ? to + written.slice(prefix.length) : url
}

/**
 * Whether a request for the URL would come to the application, and to nothing else.
 *
 * @param written below the internal or the external URL
 */
export function isOwnUrl(
  compiled: CompiledApplication,
  snapshot: Snapshot,
  written: string,
): boolean {
  const url = new URL(toExternalUrl(compiled, written))
  if (url.protocol !== 'https:' || Number(url.port || 443) !== compiled.externalPort) return false
  try {
    const target = parseTarget(url.pathname + url.search)
    if (isReservedTarget(target)) return false
    const found = snapshot.findApplication(url.hostname, target)
    return found?.compiled.application.id === compiled.application.id
  } catch (error) {
    if (error instanceof TargetError) return false
    throw error
  }
}

/** What is wrong with a URL that is none of the application's own. */
export function ownUrlMessage({
  application: { externalUrl, internalUrl },
}: Pick<CompiledApplication, 'application'>): string {
  return `must be an address of this application, below ${externalUrl} or ${internalUrl}`
}
