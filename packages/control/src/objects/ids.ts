import type { Problem } from '@sallyport/domain'
import { applications, groups, users } from '@sallyport/store'
import type { Db } from '../configuration.ts'
import type { CheckedObjects } from './check.ts'
import { nameFields, nameOf, type ObjectKind } from './schema.ts'

const likeId = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * Finds names that are the ID of something else. Commands take an ID before a name, so that such a name would change
 * what it does not mean.
 */
export async function checkIds(
  db: Db,
  { objects, references }: CheckedObjects,
): Promise<Problem[]> {
  const names = [
    ...objects.map(({ index, object }) => ({
      kind: object.kind,
      name: nameOf(object),
      path: `objects.${index}.${nameFields[object.kind]}`,
    })),
    ...references,
  ].filter(({ name }) => likeId.test(name))
  const problems: Problem[] = []
  for (const { kind, name, path } of names) {
    const owner = await ownerOf(db, kind, name)
    if (owner !== undefined && owner !== name)
      problems.push({ path, message: `is the ID of ${JSON.stringify(owner)}; choose another name` })
  }
  return problems
}

/** Connector groups have no other name than theirs. */
async function ownerOf(db: Db, kind: ObjectKind, id: string): Promise<string | undefined> {
  switch (kind) {
    case 'user':
      return (await users.findUserById(db, id))?.userName
    case 'group':
      return (await groups.findGroupById(db, id))?.name
    case 'application':
    case 'linkedApplication':
      return (await applications.findApplicationById(db, id))?.application.name
    case 'connectorGroup':
      return undefined
  }
}
