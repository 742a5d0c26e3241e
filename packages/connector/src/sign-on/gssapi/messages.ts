import type { NameKind } from './library.ts'

/** What the process with the library is started with. */
export interface ChildSettings {
  /** `svc-sallyport@CORP.EXAMPLE`. */
  account: string
  keytab: string
}

/** What it is asked; names have their realm. */
export type Question =
  /** Tickets of our own account. */
  | { do: 'account' }
  /** Evidence for a user. @returns `person`, and as `token` what proves the user to ourselves: the evidence is in it */
  | { do: 'impersonate'; user: string; kind: NameKind }
  /** @returns `exchange` and `token`, of RFC 4121 */
  | { do: 'token'; person: number; spn: string; binding: string | undefined }
  /** Whether `reply` proves that the application has the key of the SPN. @returns `source`, who asked */
  | { do: 'verify'; exchange: number; reply: string }
  | { do: 'release'; person?: number; exchange?: number }

export interface Answer {
  person?: number
  exchange?: number
  /** Base64. */
  token?: string
  source?: string
  failure?: Failure
}

export interface Failure {
  kind: 'library' | 'gss' | 'forgotten'
  message: string
  minor?: number
}

export type ToChild = { id: number; question: Question }
export type FromChild = { id: number; answer: Answer } | { ready: true } | { unavailable: string }
