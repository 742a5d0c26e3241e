/**
 * Sign-in forms in HTML: found as a browser would see them, filled in, and encoded. Pure; whoever
 * uses it fetches the page and sends the body. The tokenizer is parse5's: pages are tag soup, and what
 * a browser makes of that is written down in the HTML standard, not in anything that could be kept small.
 */
import type { Credential } from '../sealing.ts'
import { charsetOf, decodePage, encodeText, findCharset } from './charset.ts'
import { FormError } from './errors.ts'
import { type Control, type PageForm, readForms } from './page.ts'

export { FormError, type FormErrorCode } from './errors.ts'

/** What an administrator may say of a form. */
export interface FormNames {
  /** Path of the form's action, at which forms are told apart. */
  actionPath: string
  userField?: string | undefined
  passwordField?: string | undefined
}

export interface Page {
  /** Absolute, after redirects. */
  url: string
  contentType: string
  body: Buffer
}

/** A form that signs somebody in. */
export interface SignInForm {
  /** Where it is sent: absolute, without a fragment. */
  readonly action: URL
  readonly enctype: 'application/x-www-form-urlencoded' | 'multipart/form-data'
  readonly charset: string
  readonly userField: string
  readonly passwordField: string
  /** What it sends beside those two, in the order of the page: hidden fields, tokens, the button. */
  readonly fields: readonly (readonly [name: string, value: string])[]
}

// Without `password` no page has such a form: most pages are known not to without being read.
const passwordHint = /password/i

/**
 * The sign-in form of a page.
 *
 * @returns undefined when there is none
 * @throws FormError all but `FORM_NOT_FOUND`
 */
export function findSignInForm(page: Page, names: FormNames): SignInForm | undefined {
  const charset = charsetOf(page.body, page.contentType)
  const html = decodePage(page.body, charset)
  if (names.passwordField === undefined && !passwordHint.test(html)) return undefined
  const { base, forms } = readForms(html)
  const baseUrl =
    base !== undefined && URL.canParse(base, page.url) ? new URL(base, page.url).href : page.url
  const candidates = forms.filter((form) => isCandidate(form, names))
  const chosen = choose(candidates, (form) => actionOf(form, baseUrl, page.url), names)
  return chosen && toSignInForm(chosen, actionOf(chosen, baseUrl, page.url), charset, names)
}

/**
 * @returns what `Content-Type` says, and the body
 * @throws FormError `FORM_CHARSET_UNSUPPORTED`
 */
export function fillIn(
  form: SignInForm,
  { userName, password }: Credential,
  boundary: string,
): { contentType: string; body: Buffer } {
  const values = new Map([
    [form.userField, userName],
    [form.passwordField, password],
  ])
  const pairs = form.fields.map(([name, value]) =>
    [name, values.get(name) ?? value].map((text) =>
      encodeText(text.replace(/\r\n|\r|\n/g, '\r\n'), form.charset),
    ),
  ) as [Buffer, Buffer][]
  if (form.enctype === 'application/x-www-form-urlencoded') {
    const text = pairs
      .map(([name, value]) => `${percentEncoded(name)}=${percentEncoded(value)}`)
      .join('&')
    return { contentType: form.enctype, body: Buffer.from(text, 'latin1') }
  }
  const parts = pairs.flatMap(([name, value]) => [
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="`),
    Buffer.from(
      name
        .toString('latin1')
        .replace(/["\r\n]/g, (character) => `%${hex(character.charCodeAt(0))}`),
      'latin1',
    ),
    Buffer.from('"\r\n\r\n'),
    value,
    Buffer.from('\r\n'),
  ])
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    body: Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]),
  }
}

/** Two password fields are for changing or choosing one. */
function isCandidate({ controls }: PageForm, { passwordField }: FormNames): boolean {
  const usable = controls.filter(({ isSent, name }) => isSent && name !== '')
  if (passwordField !== undefined) return usable.some(({ name }) => name === passwordField)
  const passwords = usable.filter(({ kind }) => kind === 'password')
  return passwords.length === 1 && passwords[0]!.autocomplete !== 'new-password'
}

function choose(
  candidates: readonly PageForm[],
  action: (form: PageForm) => URL | undefined,
  { actionPath }: FormNames,
): PageForm | undefined {
  if (candidates.length < 2) return candidates[0]
  const meant = candidates.filter((form) => action(form)?.pathname === actionPath)
  if (meant.length === 1) return meant[0]
  // The same form twice, as pages with a small and a large header have it.
  const [first, ...others] = meant.map((form) =>
    JSON.stringify([action(form)?.href, form.controls.map(({ name, kind }) => [name, kind])]),
  )
  if (first !== undefined && others.every((other) => other === first)) return meant[0]
  throw new FormError(
    'FORM_AMBIGUOUS',
    `the page has ${candidates.length} forms with a password, and ${meant.length} of them are sent to ${actionPath}; name the password field`,
  )
}

/** WHATWG HTML, form submission: an empty action is the page itself. */
function actionOf(form: PageForm, baseUrl: string, pageUrl: string): URL | undefined {
  const written = form.action?.trim() ?? ''
  const [text, base] = written === '' ? [pageUrl, pageUrl] : [written, baseUrl]
  if (!URL.canParse(text, base)) return undefined
  const url = new URL(text, base)
  url.hash = ''
  return url
}

function toSignInForm(
  form: PageForm,
  action: URL | undefined,
  pageCharset: string,
  names: FormNames,
): SignInForm {
  if (!action) throw new FormError('FORM_NOT_FOUND', 'the action of the sign-in form is no URL')
  if (form.method !== 'post')
    throw new FormError(
      'FORM_METHOD_UNSAFE',
      `the sign-in form is sent with ${form.method.toUpperCase()}, which puts the password into a URL`,
    )
  if (form.enctype === 'text/plain')
    throw new FormError('FORM_ENCODING_UNSUPPORTED', 'the sign-in form is sent as text/plain')
  const controls = form.controls.filter(({ isSent, name }) => isSent && name !== '')
  const password = findPassword(controls, names.passwordField)
  const user = findUser(controls, password, names.userField)
  // The button that Enter presses: the first.
  const button = form.controls.find(({ kind }) => kind === 'submit' || kind === 'image')
  const fields: [string, string][] = []
  for (const control of controls) {
    const { kind, name, value } = control
    if (kind === 'submit' || kind === 'image') {
      if (control !== button) continue
      if (kind === 'image') fields.push([`${name}.x`, '0'], [`${name}.y`, '0'])
      else fields.push([name, value])
    } else if (kind !== 'button' && kind !== 'reset' && kind !== 'file') fields.push([name, value])
  }
  return {
    action,
    enctype:
      form.enctype === 'multipart/form-data'
        ? 'multipart/form-data'
        : 'application/x-www-form-urlencoded',
    charset: charsetOfForm(form, pageCharset),
    userField: user.name,
    passwordField: password.name,
    fields,
  }
}

function findPassword(controls: readonly Control[], named: string | undefined): Control {
  const found = controls.find(({ kind, name }) =>
    named === undefined ? kind === 'password' : name === named,
  )
  if (!found) throw new FormError('FORM_FIELD_MISSING', `the sign-in form has no field "${named}"`)
  return found
}

const textKinds: ReadonlySet<string> = new Set(['text', 'email', 'tel'])

/** The field that says it is for the user name, else the last one for text before the password. */
function findUser(
  controls: readonly Control[],
  password: Control,
  named: string | undefined,
): Control {
  const texts = controls.filter(({ kind }) => textKinds.has(kind))
  const found =
    named === undefined
      ? (texts.find(({ autocomplete }) => /\b(?:username|email)\b/.test(autocomplete)) ??
        controls.slice(0, controls.indexOf(password)).findLast(({ kind }) => textKinds.has(kind)))
      : controls.find(({ name }) => name === named)
  if (found) return found
  throw new FormError(
    'FORM_FIELD_MISSING',
    named === undefined
      ? 'the sign-in form has no field for the user name; name it'
      : `the sign-in form has no field "${named}"`,
  )
}

function charsetOfForm({ charset }: PageForm, pageCharset: string): string {
  for (const label of charset?.split(/[\s,]+/) ?? []) {
    const known = label === '' ? undefined : findCharset(label)
    if (known !== undefined) return known
  }
  // What a page in UTF-16 sends is UTF-8 too (WHATWG Encoding, output encoding).
  return pageCharset.startsWith('utf-16') ? 'utf-8' : pageCharset
}

/** application/x-www-form-urlencoded percent-encode set (WHATWG URL section 5.2). */
function percentEncoded(bytes: Buffer): string {
  let text = ''
  for (const byte of bytes) {
    const character = String.fromCharCode(byte)
    if (/[A-Za-z0-9*._-]/.test(character)) text += character
    else text += byte === 0x20 ? '+' : `%${hex(byte)}`
  }
  return text
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, '0')
}
