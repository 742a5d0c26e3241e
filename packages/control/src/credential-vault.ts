import {
  type AccessEvent,
  type Application,
  credentialActionOf,
  type PasswordSignOn,
  type Problem,
} from '@sallyport/domain'
import { basicProblem, type Credential, sealCredential } from '@sallyport/sso/password'
import { credentials, groups } from '@sallyport/store'
import type { Change } from './configuration.ts'
import { refuse } from './errors.ts'
import type { SealingKeys } from './sealing-keys.ts'

export interface CredentialInput {
  application: Application
  subject: credentials.CredentialSubject
  credential: Credential
  setBy: 'person' | 'administrator'
}

/**
 * Seals a password to every connector that may open it, and stores what nobody else can read. It is in the memory of this
 * process until then, and of no other.
 *
 * @returns how many connectors can open it
 * @throws ControlError `INPUT_INVALID`; `CONFLICT` when there is no connector to seal it to
 */
export async function setCredential(
  change: Change,
  keys: SealingKeys,
  { application, subject, credential, setBy }: CredentialInput,
): Promise<number> {
  const signOn = passwordSignOnOf(application)
  const [first, ...others] = findProblems(signOn, credential)
  if (first) throw refuse('INPUT_INVALID', first, ...others)
  const recipients = await keys.recipients(change.db, application.connectorGroup)
  if (recipients.length === 0)
    throw refuse('CONFLICT', {
      path: 'application',
      message: `no connector of the group ${application.connectorGroup} may keep passwords yet: compare the fingerprint of its key, and approve it: sallyport connector trust-key`,
    })
  const before = await credentials.findCredential(change.db, application.id, subject)
  const { origin } = new URL(application.internalUrl)
  const action = credentialActionOf(signOn)
  // Never one that was used before: a connector remembers which it must not send.
  const version = Math.max(change.nowAt, (before?.version ?? 0) + 1)
  const binding = {
    applicationId: application.id,
    subject: `${subject.kind}:${subject.id}`,
    origin,
    action,
    version,
  }
  const copies = recipients.map(({ connectorId, publicKey }) => ({
    connectorId,
    sealed: sealCredential(publicKey, credential, binding),
  }))
  await credentials.setCredential(
    change.db,
    { applicationId: application.id, subject, origin, action, version, setBy, copies },
    change.nowAt,
  )
  change.publish(await eventsFor(change, subject))
  await change.audit('credential-set', application.id, {
    application: application.name,
    subjectKind: subject.kind,
    subjectId: subject.id,
    connectors: copies.length,
  })
  return copies.length
}

/** @throws ControlError `NOT_FOUND` */
export async function deleteCredential(
  change: Change,
  application: Application,
  subject: credentials.CredentialSubject,
): Promise<void> {
  const found = await credentials.findCredential(change.db, application.id, subject)
  if (!found)
    throw refuse('NOT_FOUND', {
      path: subject.kind,
      message: `keeps no password for ${application.name}; see: sallyport credential list`,
    })
  await credentials.deleteCredential(change.db, found.id)
  change.publish(await eventsFor(change, subject))
  await change.audit('credential-deleted', application.id, {
    application: application.name,
    subjectKind: subject.kind,
    subjectId: subject.id,
  })
}

/** What a gateway holds for those whom it concerns is not good any more. */
async function eventsFor(
  { db, nowAt }: Change,
  { id, kind }: credentials.CredentialSubject,
): Promise<AccessEvent[]> {
  const userIds = kind === 'user' ? [id] : await groups.usersBelow(db, id)
  return userIds.map((userId) => ({ kind: 'claims-changed', userId, at: nowAt }))
}

/** @throws ControlError `CONFLICT` */
function passwordSignOnOf({ name, signOn }: Application): PasswordSignOn {
  if (signOn.method === 'password') return signOn
  throw refuse('CONFLICT', {
    path: 'application',
    message: `${name} is signed on to by "${signOn.method}"; passwords are kept for applications with the method "password"`,
  })
}

const limits = { userName: 256, password: 1_024 } as const

function findProblems(signOn: PasswordSignOn, credential: Credential): Problem[] {
  const problems: Problem[] = []
  for (const path of ['userName', 'password'] as const) {
    const text = credential[path]
    if (text === '') problems.push({ path, message: 'must not be empty' })
    else if (text.length > limits[path])
      problems.push({ path, message: `must have at most ${limits[path]} characters` })
    else if (/[\u0000\r\n]/.test(text)) problems.push({ path, message: 'must be one line' })
  }
  const problem = signOn.kind === 'basic' ? basicProblem(credential) : undefined
  if (problem !== undefined) problems.push({ path: 'userName', message: problem })
  return problems
}
