import { z } from 'zod'

/**
 * Sign-on with a password that the person, or a group, keeps for the application. The connector sends it: as HTTP
 * Basic, or by the application's own form.
 */

const page = z
  .string()
  .max(2_048)
  .refine((path) => isPath(path), {
    error: 'must be a path of the application, such as /login, perhaps with a query',
  })

const action = z
  .string()
  .max(2_048)
  .refine((path) => isPath(path) && !path.includes('?'), {
    error: 'must be a path of the application, such as /login, without a query',
  })

/** What URL() would quietly rewrite is compared with what the application sends, and never equal to it. */
function isPath(path: string): boolean {
  if (!/^\/(?![/\\])[\x21-\x7e]*$/.test(path) || path.includes('#')) return false
  const { pathname, search } = new URL(path, 'http://host/')
  return pathname + search === path
}

const field = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[^\p{Cc}]*$/u, 'must not hold control characters')

const fields = {
  kind: z
    .enum(['basic', 'form'])
    .describe(
      'basic: HTTP Basic with each request. form: by the sign-in form of the application, when it asks for it.',
    ),
  signInPage: page
    .optional()
    .describe(
      'form: the page with the sign-in form, as a path of the internal URL, such as /login.',
    ),
  formAction: action
    .optional()
    .describe(
      'form: the one path that may be sent the password. Default: that of the sign-in page.',
    ),
  userField: field
    .optional()
    .describe('form: name of the field for the user name. Default: it is detected.'),
  passwordField: field
    .optional()
    .describe('form: name of the field for the password. Default: it is detected.'),
} as const

type Settings = { [Name in keyof typeof fields]?: z.output<(typeof fields)[Name]> }

function checkForm(settings: Settings, context: z.RefinementCtx): void {
  if (settings.kind === 'form') {
    if (settings.signInPage === undefined)
      context.addIssue({
        code: 'custom',
        path: ['signInPage'],
        message: 'is needed: the path of the page with the sign-in form',
      })
    return
  }
  for (const name of ['signInPage', 'formAction', 'userField', 'passwordField'] as const)
    if (settings[name] !== undefined)
      context.addIssue({ code: 'custom', path: [name], message: 'is used only with kind form' })
}

export const passwordSettingsSchema = z.strictObject(fields).superRefine(checkForm)
export const passwordSignOnSchema = z
  .strictObject({ method: z.literal('password'), ...fields })
  .superRefine(checkForm)

export type PasswordSignOn = z.output<typeof passwordSignOnSchema>

/** The path of the form's action; of HTTP Basic there is none. */
export function formActionOf({ signInPage, formAction }: PasswordSignOn): string {
  return formAction ?? signInPage!.split('?', 1)[0]!
}

/** What a credential is sealed for, beside the origin: where it is sent. */
export function credentialActionOf(signOn: PasswordSignOn): string {
  return signOn.kind === 'basic' ? 'basic' : `form ${formActionOf(signOn)}`
}
