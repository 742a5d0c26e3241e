import { errorPage } from '@sallyport/domain'
import { StoreError } from '@sallyport/store'
import { errors } from 'oidc-provider'
import { SignOnRefused } from './oidc/requests.ts'

/** Status, title, explanation, and what to do when there is more to it than to go elsewhere. */
type Text = readonly [number, string, string, string?]

/** What people read when a page of ours cannot do what was asked; the text is fixed, detail is in the log. */
const failures = {
  'not-found': [
    404,
    'There is nothing here',
    'No page of the sign-in service has this address.',
    '',
  ],
  'cross-site': [
    403,
    'This request came from another site',
    'For your safety, only pages of the sign-in service itself may do that.',
    'Open the application again, and sign in from there.',
  ],
  'host-mismatch': [
    421,
    'This request came to the wrong place',
    'It names another address than that of the sign-in service.',
    'Open the address again in a new window.',
  ],
  'sign-in-elsewhere': [
    400,
    'This sign-in cannot go on in this browser',
    'It was begun in another browser, or this browser does not keep cookies.',
    'Allow cookies for this site, then open the application again in this browser.',
  ],
  'sign-in-expired': [
    400,
    'This sign-in is over',
    'It was completed already, or it took longer than an hour.',
    'Open the application again to begin a new one.',
  ],
  'sign-in-request-invalid': [
    400,
    'This sign-in request is not valid',
    'The application asked for the sign-in in a way that is not allowed. Nothing was sent to it.',
    'Open the application again. If it stays like this, give your administrator the correlation ID below.',
  ],
  'sign-out-request-invalid': [
    400,
    'This sign-out request is not valid',
    'The application asked for the sign-out in a way that is not allowed. You are still signed in.',
    'Sign out on the page of your applications. If it stays like this, give your administrator the correlation ID below.',
  ],
  'user-not-assigned': [
    403,
    'You have no access to this application',
    'You are signed in, and the application is not assigned to you.',
    'Ask your administrator for access, or sign in as somebody else.',
  ],
  'saml-message-invalid': [
    400,
    'This sign-in request is not valid',
    'The application sent a SAML message that cannot be accepted. Nothing was sent back to it.',
    'Open the application again. If it stays like this, give your administrator the correlation ID below.',
  ],
  'saml-name-missing': [
    403,
    'The application cannot be told who you are',
    'It wants a name of you that you do not have, such as a mail address.',
    'Give your administrator the correlation ID below.',
  ],
  'claim-too-long': [
    403,
    'The application cannot be told who you are',
    'Something that it wants to know of you is too long. Nothing is wrong with your account.',
    'Give your administrator what stands below: the settings of the application need to be changed.',
  ],
  'saml-attributes-too-many': [
    403,
    'The application cannot be told who you are',
    'You are in more groups than it can be told of at once.',
    'Give your administrator the correlation ID below.',
  ],
  'too-many-requests': [
    429,
    'Too many requests',
    'More was asked for, by you or from your network, than is usual.',
    'Wait a moment, then try again.',
  ],
  'request-too-large': [
    413,
    'That was too much',
    'The form that was sent is larger than it can be.',
  ],
  'bad-request': [
    400,
    'This request cannot be understood',
    'The sign-in service could not read what was sent.',
    'Open the application again, and sign in from there.',
  ],
  overloaded: [
    503,
    'The sign-in service is busy',
    'Many people are signing in right now.',
    'Wait a few seconds, then open the application again.',
  ],
  unavailable: [
    503,
    'Signing in is not possible right now',
    'The sign-in service cannot reach a part of itself.',
    'Wait a few seconds, then open the application again. If it stays like this, tell your administrator.',
  ],
  'internal-error': [
    500,
    'Something went wrong here',
    'The fault is ours, not yours.',
    'Try again in a moment. If it stays like this, give your administrator the correlation ID below.',
  ],
} as const satisfies Record<string, Text>

export type FailureCode = keyof typeof failures

export interface Failure {
  statusCode: number
  body: string
}

/** For pages that may say so much. */
export interface FailureFacts {
  applicationName?: string
  signedInAs?: string
  /** What the application cannot be told, by the name that it has there. */
  claim?: string
}

/** @param portalOrigin where the page offers to begin again */
export function failurePage(
  code: FailureCode,
  correlationId: string,
  portalOrigin: string,
  { applicationName, signedInAs, claim }: FailureFacts = {},
): Failure {
  const [statusCode, title, explanation, remedy]: Text = failures[code]
  const body = errorPage({
    statusCode,
    code: code.replaceAll('-', '_').toUpperCase(),
    title,
    explanation,
    remedy,
    correlationId,
    applicationName,
    signedInAs,
    claim,
    links: [{ href: `${portalOrigin}/`, label: 'Your applications' }],
  })
  return { statusCode, body }
}

/** Whether the store could not be asked, and may be in a moment. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof StoreError && error.retryable
}

/**
 * For an error of the OpenID provider (RFC 6749 section 4.1.2.1) that no application may hear of.
 *
 * @param isSignOut whether somebody was to be signed out
 */
export function providerFailure(error: Error, isSignOut: boolean): FailureCode {
  if (error instanceof SignOnRefused) return error.reason
  if (error instanceof errors.SessionNotFound) return 'sign-in-expired'
  if (isUnavailable(error)) return 'unavailable'
  if (!(error instanceof errors.OIDCProviderError) || error.statusCode >= 500)
    return 'internal-error'
  return isSignOut ? 'sign-out-request-invalid' : 'sign-in-request-invalid'
}
