import { type Application, isLinked } from '@sallyport/domain'
import { applications, connectorGroups, connectors, groups, users } from '@sallyport/store'
import { z } from 'zod'
import { found } from '../command.ts'
import type { Db } from '../configuration.ts'
import { refuse } from '../errors.ts'

/**
 * What a command names, found by its ID or its name. An ID wins: it cannot be taken by somebody else.
 * All of them throw ControlError `NOT_FOUND`.
 */

export async function findUser(db: Db, text: string, path: string): Promise<users.User> {
  return found(
    (await users.findUserById(db, text)) ?? (await users.findUserByName(db, text)),
    path,
    `there is no user "${text}"; see: sallyport user list`,
  )
}

export async function findGroup(db: Db, text: string, path: string): Promise<groups.Group> {
  return found(
    (await groups.findGroupById(db, text)) ?? (await groups.findGroupByName(db, text)),
    path,
    `there is no group "${text}"; see: sallyport group list`,
  )
}

export async function findApplication(
  db: Db,
  text: string,
  path: string,
): Promise<applications.StoredApplication> {
  return found(
    (await applications.findApplicationById(db, text)) ??
      (await applications.findApplicationByName(db, text)),
    path,
    `there is no application "${text}"; see: sallyport app list`,
  )
}

/** @throws ControlError `NOT_FOUND`; `CONFLICT` when nothing is published by it */
export async function findPublished(db: Db, text: string, path: string): Promise<Application> {
  const { application } = await findApplication(db, text, path)
  if (isLinked(application))
    throw refuse('CONFLICT', {
      path,
      message: `${application.name} is a link to ${application.linkedUrl}, and not published by Sallyport`,
    })
  return application
}

export async function findConnectorGroup(
  db: Db,
  text: string,
  path: string,
): Promise<connectorGroups.ConnectorGroup> {
  return found(
    await connectorGroups.findConnectorGroupByName(db, text),
    path,
    `there is no connector group "${text}"; see: sallyport connector-group list`,
  )
}

/**
 * A connector in force. Names are not unique, so one may have to be given by its ID.
 *
 * @throws ControlError `CONFLICT` when the name means several, or one that was revoked
 */
export async function findConnector(
  db: Db,
  text: string,
  path: string,
): Promise<connectors.Connector> {
  const byId = await connectors.findConnectorById(db, text)
  const all = byId ? [byId] : await connectors.findConnectorsByName(db, text)
  const inForce = all.filter(({ revokedAt }) => revokedAt === undefined)
  const say = (code: 'NOT_FOUND' | 'CONFLICT', message: string) => refuse(code, { path, message })
  if (inForce.length > 1)
    throw say(
      'CONFLICT',
      `there are ${inForce.length} connectors "${text}"; give the ID of one: ${inForce.map(({ id }) => id).join(', ')}`,
    )
  if (inForce[0]) return inForce[0]
  throw all.length > 0
    ? say('CONFLICT', `connector "${text}" was revoked before`)
    : say('NOT_FOUND', `there is no connector "${text}"; see: sallyport connector list`)
}

/** A user or a group, whichever of the two fields is given. */
export async function findPrincipal(
  db: Db,
  user: string | undefined,
  group: string | undefined,
  groupPath: string,
): Promise<applications.Principal & { name: string }> {
  if ((user === undefined) === (group === undefined))
    throw refuse('INPUT_INVALID', {
      path: user === undefined ? 'user' : groupPath,
      message: `give either user or ${groupPath}`,
    })
  if (user !== undefined) {
    const { id, userName } = await findUser(db, user, 'user')
    return { id, kind: 'user', name: userName }
  }
  const { id, name } = await findGroup(db, group!, groupPath)
  return { id, kind: 'group', name }
}

/** Text that people read: in lists, in pages, and in headers to origins. */
export const displayText = z
  .string()
  .trim()
  .min(1)
  .max(256)
  .regex(/^[^\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]*$/u, {
    error: 'must not hold control characters',
  })
