import { type FieldList, findField } from '@sallyport/http1'

/** How a request without a session is to be answered. */
export type RequestKind = 'navigation' | 'unsafe-navigation' | 'other'

/**
 * Tells a page that somebody opens from everything else, by Fetch metadata where the client sends it and by what it accepts
 * where not.
 *
 * @see https://www.w3.org/TR/fetch-metadata/
 */
export function requestKind(method: string, fields: FieldList): RequestKind {
  const mode = findField(fields, 'sec-fetch-mode')
  const navigates =
    mode === undefined
      ? acceptsHtml(fields) && findField(fields, 'x-requested-with') === undefined
      : mode === 'navigate'
  if (!navigates) return 'other'
  return method === 'GET' || method === 'HEAD' ? 'navigation' : 'unsafe-navigation'
}

export function acceptsHtml(fields: FieldList): boolean {
  return /\btext\/html\b/i.test(findField(fields, 'accept') ?? '')
}

/** Whether a request with an unsafe method comes from a page of the same origin. @param origin such as `https://hr.example.com` */
export function isSameOrigin(fields: FieldList, origin: string): boolean {
  const site = findField(fields, 'sec-fetch-site')
  if (site !== undefined && site !== 'same-origin') return false
  const sent = findField(fields, 'origin')
  if (sent !== undefined) return sent === origin
  return site === 'same-origin'
}
