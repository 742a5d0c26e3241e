import { randomBytes } from 'node:crypto'
import { ResetCode } from '@sallyport/protocol'
import type { Credential } from '@sallyport/sso/password'
import { FormError, fillIn, findSignInForm, type SignInForm } from '@sallyport/sso/password/form'
import { OriginFailure } from '../../failure.ts'
import type { Cookies } from './cookies.ts'
import type { Visit, VisitedPage } from './visit.ts'

/** What identity says of the form. Paths begin with `/` and are those of the origin. */
export interface FormPlan {
  /** Path and query of the page with the form. */
  signInPage: string
  /** Path that the form is sent to, and no other. */
  formAction: string
  /** Where the application begins; signed in, it shows no form. */
  startPage: string
  userField?: string | undefined
  passwordField?: string | undefined
}

/** The application turned the credential down: it must not be sent again. */
export class CredentialRefused extends OriginFailure {
  readonly reason: string
  constructor(reason: string) {
    super(ResetCode.SIGN_ON_FAILED, `CREDENTIAL_REFUSED: ${reason}`)
    this.reason = reason
  }
}

/**
 * Signs a person in by the application's own form, once.
 *
 * @returns the cookies of the application's host
 * @throws CredentialRefused when the password was sent, and the application does not take the person for signed in
 * @throws OriginFailure `SIGN_ON_FAILED` when it was not sent, with a code at the beginning of its message; others
 *   when the application did not answer
 */
export async function signInByForm(
  visit: Visit,
  plan: FormPlan,
  credential: Credential,
): Promise<Cookies> {
  const page = await visit.open(visit.urlOf(plan.signInPage))
  const form = findForm(page, plan)
  checkAction(form, visit, plan)
  const { contentType, body } = toBody(form, credential)
  const answer = await visit.submit(form.action, page.url, contentType, body)
  checkAnswer(answer, form, plan, 'answered the sign-in form')
  const start = await visit.open(visit.urlOf(plan.startPage))
  checkAnswer(start, form, plan, 'opened its start page')
  if (visit.cookies.isEmpty)
    throw new CredentialRefused('the application took the sign-in form, and set no cookie')
  return visit.cookies
}

/** Whether the page asks for the password. */
export function showsForm(page: VisitedPage, plan: FormPlan): boolean {
  try {
    const form = findSignInForm(toPage(page), toNames(plan))
    return form?.action.pathname === plan.formAction
  } catch (error) {
    if (!(error instanceof FormError)) throw error
    // Others are of forms that are no such form.
    return error.code === 'FORM_AMBIGUOUS'
  }
}

function findForm(page: VisitedPage, plan: FormPlan): SignInForm {
  let form: SignInForm | undefined
  try {
    form = findSignInForm(toPage(page), toNames(plan))
  } catch (error) {
    if (error instanceof FormError) throw unusable(error.code, error.message, page)
    throw error
  }
  if (!form)
    throw unusable('FORM_NOT_FOUND', 'the sign-in page has no form with one password field', page)
  return form
}

/** The page comes from the application, and whoever can write into it must not choose who gets the password. */
function checkAction({ action }: SignInForm, visit: Visit, { formAction }: FormPlan): void {
  if (visit.isOwn(action) && action.pathname === formAction) return
  const where = visit.isOwn(action) ? action.pathname : action.origin + action.pathname
  throw new OriginFailure(
    ResetCode.SIGN_ON_FAILED,
    `FORM_ACTION_DIFFERS: the sign-in form is sent to ${where}, and only ${formAction} may get the password; if that is right, set signOn.formAction`,
  )
}

function checkAnswer(page: VisitedPage, form: SignInForm, plan: FormPlan, when: string): void {
  if (page.statusCode >= 500)
    throw new OriginFailure(
      ResetCode.SIGN_ON_FAILED,
      `SIGN_IN_FAILED: the application ${when} with ${page.statusCode}`,
    )
  const { userField, passwordField } = form
  if (showsForm(page, { ...plan, userField, passwordField }))
    throw new CredentialRefused(`the application ${when} with its sign-in form`)
  if (page.statusCode === 401) throw new CredentialRefused(`the application ${when} with 401`)
}

function toBody(form: SignInForm, credential: Credential): { contentType: string; body: Buffer } {
  try {
    return fillIn(form, credential, `sallyport-${randomBytes(16).toString('hex')}`)
  } catch (error) {
    if (!(error instanceof FormError)) throw error
    throw new OriginFailure(ResetCode.SIGN_ON_FAILED, `${error.code}: ${error.message}`)
  }
}

function unusable(code: string, message: string, { url, statusCode }: VisitedPage): OriginFailure {
  return new OriginFailure(
    ResetCode.SIGN_ON_FAILED,
    `${code}: ${message} (${url.origin}${url.pathname}, status ${statusCode})`,
  )
}

function toPage({ url, contentType, body }: VisitedPage) {
  return { url: url.href, contentType, body }
}

function toNames({ formAction, userField, passwordField }: FormPlan) {
  return { actionPath: formAction, userField, passwordField }
}
