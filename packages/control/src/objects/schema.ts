import { type OnPremises, onPremisesSchemas } from '@sallyport/domain'
import { z } from 'zod'
import { connectorGroupName } from '../commands/connectors.ts'
import { displayText } from '../commands/references.ts'
import { mailAddress, userName } from '../commands/users.ts'
import { type ApplicationObject, applicationFields } from './application.ts'
import { type LinkedApplicationObject, linkedApplicationFields } from './linked-application.ts'

/** The kinds of objects, in the order in which they need each other. */
export const objectKinds = [
  'connectorGroup',
  'user',
  'group',
  'application',
  'linkedApplication',
] as const

export type ObjectKind = (typeof objectKinds)[number]

/** The field by which an object is known. */
export const nameFields: Readonly<Record<ObjectKind, 'name' | 'userName'>> = {
  connectorGroup: 'name',
  user: 'userName',
  group: 'name',
  application: 'name',
  linkedApplication: 'name',
}

const limitNames = 100_000

function names(what: string, name: z.ZodType<string> = displayText) {
  return z
    .array(name)
    .max(limitNames)
    .transform((all) => [...new Set(all)])
    .default([])
    .describe(what)
}

const people = {
  users: names('User names.', userName),
  groups: names('Names of groups.'),
}

/** One schema per kind; what is left out has its default. */
export const objectSchemas = {
  connectorGroup: z
    .strictObject({
      kind: z.literal('connectorGroup'),
      name: connectorGroupName.describe('Name of the group; unique.'),
    })
    .describe('A group of interchangeable connectors.'),
  user: z
    .strictObject({
      kind: z.literal('user'),
      userName: userName.describe(
        'What the person types to sign in; unique, compared without case.',
      ),
      displayName: displayText
        .optional()
        .describe('What people and applications read. Default: the user name.'),
      mail: mailAddress.optional().describe('Mail address. Left out: none.'),
      onPremisesUserPrincipalName: onPremisesSchemas.onPremisesUserPrincipalName.optional(),
      onPremisesSamAccountName: onPremisesSchemas.onPremisesSamAccountName.optional(),
      onPremisesDomainName: onPremisesSchemas.onPremisesDomainName.optional(),
      accountEnabled: z
        .boolean()
        .optional()
        .describe('Whether the person may sign in. Left out: as it is; a new user may.'),
    })
    .describe('A person. Passwords never stand in files: sallyport user set-password.'),
  group: z
    .strictObject({
      kind: z.literal('group'),
      name: displayText.describe('Name of the group; unique.'),
      members: z
        .strictObject(people)
        .optional()
        .describe('The direct members, and nobody else. Left out: members stay as they are.'),
    })
    .describe('A group of users and of other groups.'),
  application: z
    .strictObject({
      kind: z.literal('application'),
      ...applicationFields,
      assignments: z
        .strictObject(people)
        .optional()
        .describe('Who may use it, and nobody else. Left out: assignments stay as they are.'),
    })
    .describe("A published web application. Settings that Entra has too have Entra's names."),
  linkedApplication: z
    .strictObject({
      kind: z.literal('linkedApplication'),
      ...linkedApplicationFields,
      assignments: z
        .strictObject(people)
        .optional()
        .describe('Who sees it, and nobody else. Left out: assignments stay as they are.'),
    })
    .describe('A tile of the portal that leads to an application that is not published.'),
} as const

export interface NamedPeople {
  users: string[]
  groups: string[]
}

/** Objects as files declare them, checked, with their defaults. */
export type DeclaredObject =
  | { kind: 'connectorGroup'; name: string }
  | ({
      kind: 'user'
      userName: string
      displayName?: string | undefined
      mail?: string | undefined
      accountEnabled?: boolean | undefined
    } & OnPremises)
  | { kind: 'group'; name: string; members?: NamedPeople | undefined }
  | (ApplicationObject & { kind: 'application'; assignments?: NamedPeople | undefined })
  | (LinkedApplicationObject & {
      kind: 'linkedApplication'
      assignments?: NamedPeople | undefined
    })

export function nameOf(object: DeclaredObject): string {
  return object.kind === 'user' ? object.userName : object.name
}

/** For editors: completion and checks of one object. JSON Schema draft 7, which they know best. */
export function toObjectJsonSchema(): object {
  return z.toJSONSchema(
    z.union(objectKinds.map((kind) => objectSchemas[kind])).describe('An object of Sallyport.'),
    { target: 'draft-7', io: 'input' },
  )
}
