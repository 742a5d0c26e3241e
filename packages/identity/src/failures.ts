import { errorPage } from '@sallyport/domain'
import { errors } from 'oidc-provider'

/** What people read when a page of ours cannot do what was asked; the text is fixed, detail is in the log. */
const failures = {
  'not-found': [404, 'There is nothing here', 'No page of the sign-in service has this address.'],
  'cross-site': [
    403,
    'This request came from another site',
    'For your safety, only pages of the sign-in service itself may do that.',
  ],
  'host-mismatch': [
    421,
    'This is another host',
    'The request names a host other than the sign-in service.',
  ],
  'sign-in-elsewhere': [
    400,
    'This sign-in was begun in another browser',
    'A sign-in can only be completed in the browser where it was begun, and the browser must keep cookies.',
  ],
  'sign-in-expired': [
    400,
    'This sign-in is over',
    'It was completed already, or it took longer than an hour.',
  ],
  'sign-in-request-invalid': [
    400,
    'This sign-in request is not valid',
    'The application asked for the sign-in in a way that is not allowed. Nothing was sent to it.',
  ],
  'too-many-requests': [
    429,
    'Too many requests',
    'More sign-ins were begun from your network than is usual. Wait a moment, then try again.',
  ],
  'request-too-large': [
    413,
    'That was too much',
    'The form that was sent is larger than it can be.',
  ],
  'bad-request': [400, 'This request is not valid', 'The sign-in service could not read it.'],
  overloaded: [
    503,
    'The sign-in service is busy',
    'Many people are signing in right now. Please try again in a few seconds.',
  ],
  'internal-error': [500, 'Something went wrong', 'The sign-in service made a mistake.'],
} as const satisfies Record<string, readonly [number, string, string]>

export type FailureCode = keyof typeof failures

export interface Failure {
  statusCode: number
  body: string
}

/** @param portalOrigin where the page offers to begin again */
export function failurePage(
  code: FailureCode,
  correlationId: string,
  portalOrigin: string,
): Failure {
  const [statusCode, title, explanation] = failures[code]
  const body = errorPage({
    statusCode,
    code,
    title,
    explanation,
    correlationId,
    remedy:
      statusCode >= 500
        ? 'If it happens again, tell your administrator the correlation ID.'
        : undefined,
    links: [{ href: `${portalOrigin}/`, label: 'Your applications' }],
  })
  return { statusCode, body }
}

/** For an error of the OpenID provider (RFC 6749 section 4.1.2.1) that no application may hear of. */
export function providerFailure(error: Error): FailureCode {
  if (error instanceof errors.SessionNotFound) return 'sign-in-expired'
  return error instanceof errors.OIDCProviderError && error.statusCode < 500
    ? 'sign-in-request-invalid'
    : 'internal-error'
}
