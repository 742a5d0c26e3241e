/**
 * Pages that people see: sign-in, sign-out, the portal, errors. Pure functions from facts to a whole
 * HTML document. They need no script, no file and no network; `securityHeaders` goes with each.
 */
export { describeDevice } from './device.ts'
export {
  type ErrorPage,
  errorPage,
  type SignInAgainPage,
  signInAgainPage,
  signInDonePage,
} from './error.ts'
export { escapeHtml, Html, type HtmlValue, html, linkUrl } from './html.ts'
export { type MessageFormPage, messageFormPage } from './message-form.ts'
export { type KeptPassword, type PasswordsPage, passwordsPage } from './passwords.ts'
export { type PortalPage, portalPage } from './portal.ts'
export { type ListedSession, type SessionsPage, sessionsPage } from './sessions.ts'
export { cardPage, page, type Shell, securityHeaders } from './shell.ts'
export {
  alreadySignedInPage,
  notSignedInPage,
  type SignInPage,
  type SignInProblem,
  type SignOutPage,
  signedOutPage,
  signInPage,
  signOutPage,
} from './sign-in.ts'
