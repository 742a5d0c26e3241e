import { ResetCode } from '@sallyport/protocol'
import { OriginFailure } from '../../failure.ts'
import type { Assertion } from '../assertion.ts'
import type { FormPlan } from './form-sign-in.ts'

/** What identity says of the password of a person, its form checked. */
export interface PasswordFacts {
  /** `user:<ID>`, or `group:<ID>` of a group that shares it. */
  subject: string
  version: number
  /** By the fingerprint of the key that opens each. */
  sealed: ReadonlyMap<string, string>
  /** Undefined: HTTP Basic. */
  form: FormPlan | undefined
}

/** @throws OriginFailure `SIGN_ON_FAILED` */
export function readPasswordFacts({ claims, subject }: Assertion): PasswordFacts {
  const { credential, form } = claims as { credential?: unknown; form?: unknown }
  const { subject: of, version, sealed } = toRecord(credential)
  // Whatever the rest says: nobody gets what another person keeps.
  const isTheirs = of === `user:${subject}` || (typeof of === 'string' && of.startsWith('group:'))
  if (!isTheirs || !Number.isSafeInteger(version) || !Array.isArray(sealed))
    throw unknown('it does not say which credential')
  const copies = new Map<string, string>()
  for (const copy of sealed) {
    if (typeof copy !== 'string') throw unknown('a sealed credential is no text')
    copies.set(copy.slice(0, Math.max(copy.indexOf('.'), 0)), copy)
  }
  return {
    subject: of as string,
    version: version as number,
    sealed: copies,
    form: form === undefined ? undefined : readPlan(toRecord(form)),
  }
}

function readPlan(form: Record<string, unknown>): FormPlan {
  const { signInPage, formAction, startPage, userField, passwordField } = form
  for (const path of [signInPage, formAction, startPage])
    if (typeof path !== 'string' || !/^\/(?![/\\])/.test(path)) throw unknown('a path is none')
  for (const field of [userField, passwordField])
    if (field !== undefined && typeof field !== 'string') throw unknown('a field is none')
  return { signInPage, formAction, startPage, userField, passwordField } as FormPlan
}

function toRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function unknown(why: string): OriginFailure {
  return new OriginFailure(
    ResetCode.SIGN_ON_FAILED,
    `ASSERTION_REFUSED: the sign-on assertion cannot be used: ${why}`,
  )
}
