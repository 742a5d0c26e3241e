import type { CompiledApplication } from '../snapshot.ts'

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
