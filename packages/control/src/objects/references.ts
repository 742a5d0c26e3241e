import type { Problem } from '@sallyport/domain'
import type { CheckedObjects, Reference } from './check.ts'
import { isNeverPruned } from './plan.ts'
import type { ObjectKind } from './schema.ts'
import { type StoredState, storedNames } from './state.ts'

const words: Readonly<Record<Reference['kind'], string>> = {
  connectorGroup: 'connector group',
  user: 'user',
  group: 'group',
}

/** Finds what objects refer to and what is neither among them nor stored, or is about to be deleted. */
export function checkReferences(
  { objects, names, references }: CheckedObjects,
  state: StoredState,
  prune: readonly ObjectKind[],
): Problem[] {
  const stored = {
    user: new Set(storedNames(state, 'user')),
    group: new Set(storedNames(state, 'group')),
    connectorGroup: new Set(storedNames(state, 'connectorGroup')),
  }
  const problems: Problem[] = []
  for (const { path, kind, name } of references) {
    if (names.get(kind)!.has(name)) continue
    const what = `${words[kind]} ${JSON.stringify(name)}`
    if (!stored[kind].has(name))
      problems.push({
        path,
        message: `there is no ${what}, neither in the files nor in the service`,
      })
    else if (prune.includes(kind) && !isNeverPruned(kind, name))
      problems.push({
        path,
        message: `the ${what} is not in the files, so that it would be deleted; put it into the files`,
      })
  }
  for (const { index, object } of objects)
    if (object.kind === 'group' && object.members?.groups.includes(object.name))
      problems.push({
        path: `objects.${index}.members.groups`,
        message: 'a group cannot be a member of itself',
      })
  return problems
}
