import { setImmediate } from 'node:timers/promises'
import { type Problem, toProblems } from '@sallyport/domain'
import { users } from '@sallyport/store'
import {
  type DeclaredObject,
  nameFields,
  nameOf,
  type ObjectKind,
  objectKinds,
  objectSchemas,
} from './schema.ts'

/** An object with its place among those that were given. */
export interface PlacedObject {
  index: number
  object: DeclaredObject
}

export interface CheckedObjects {
  /** Those in which nothing is wrong. */
  objects: PlacedObject[]
  /** Names by kind, of those too in which something is wrong: others may refer to them. */
  names: ReadonlyMap<ObjectKind, ReadonlySet<string>>
  /** What objects refer to, those too in which something is wrong. */
  references: readonly Reference[]
  /** Each with a path such as `objects.3.externalUrl`. */
  problems: Problem[]
}

/** The name of another object. */
export interface Reference {
  /** Such as `objects.3.assignments.users.0`. */
  path: string
  kind: 'user' | 'group' | 'connectorGroup'
  name: string
}

/** So many objects are checked before others get their turn. */
const sliceSize = 500

/**
 * Checks objects one by one, and that none is there twice. What they refer to is checked where it is known
 * what there is.
 */
export async function checkObjects(values: readonly unknown[]): Promise<CheckedObjects> {
  const objects: PlacedObject[] = []
  const problems: Problem[] = []
  const references: Reference[] = []
  const places = new Map(objectKinds.map((kind) => [kind, new Map<string, number[]>()]))
  for (const [index, value] of values.entries()) {
    if (index % sliceSize === sliceSize - 1) await setImmediate()
    const kind = kindOf(value)
    if (kind === undefined) {
      problems.push(explainKind(value, index))
      continue
    }
    references.push(...referencesOf(kind, value as Record<string, unknown>, `objects.${index}`))
    const result = objectSchemas[kind].safeParse(value)
    const name = result.success
      ? nameOf(result.data as DeclaredObject)
      : roughNameOf(kind, value as Record<string, unknown>)
    if (name !== undefined) {
      const known = places.get(kind)!
      known.set(name, [...(known.get(name) ?? []), index])
    }
    if (result.success) objects.push({ index, object: result.data as DeclaredObject })
    else
      for (const { path, message } of toProblems(result.error, objectSchemas[kind], ''))
        problems.push({
          path: path === '' ? `objects.${index}` : `objects.${index}.${path}`,
          message,
        })
  }
  for (const [kind, known] of places)
    for (const [name, indexes] of known)
      if (indexes.length > 1)
        for (const index of indexes)
          problems.push({
            path: `objects.${index}.${nameFields[kind]}`,
            message: `there are ${indexes.length} objects of the kind ${kind} with the name ${JSON.stringify(name)}; keep one`,
          })
  const names = new Map([...places].map(([kind, known]) => [kind, new Set(known.keys())]))
  return { objects, names, references, problems }
}

function kindOf(value: unknown): ObjectKind | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, 'kind')) return undefined
  return objectKinds.find((kind) => kind === (value as { kind: unknown }).kind)
}

function explainKind(value: unknown, index: number): Problem {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { path: `objects.${index}`, message: 'must be an object with the field kind' }
  return {
    path: `objects.${index}.kind`,
    message: `${Object.hasOwn(value, 'kind') ? 'must be' : 'is required:'} one of: ${objectKinds.join(', ')}`,
  }
}

function roughNameOf(kind: ObjectKind, value: Record<string, unknown>): string | undefined {
  const name = Object.hasOwn(value, nameFields[kind]) ? value[nameFields[kind]] : undefined
  if (typeof name !== 'string') return undefined
  return kind === 'user' ? users.toUserName(name) : name.trim()
}

const peopleFields: Readonly<Partial<Record<ObjectKind, string>>> = {
  group: 'members',
  application: 'assignments',
  linkedApplication: 'assignments',
}

/** From the object as it was written, so that it may be wrong otherwise. */
function referencesOf(kind: ObjectKind, value: Record<string, unknown>, path: string): Reference[] {
  const found: Reference[] = []
  const add = (of: Reference['kind'], name: unknown, path: string) => {
    if (typeof name !== 'string') return
    found.push({ path, kind: of, name: of === 'user' ? users.toUserName(name) : name.trim() })
  }
  const field = peopleFields[kind]
  const people = field && Object.hasOwn(value, field) ? value[field] : undefined
  if (typeof people === 'object' && people !== null)
    for (const [list, of] of [
      ['users', 'user'],
      ['groups', 'group'],
    ] as const) {
      const names = (people as Record<string, unknown>)[list]
      if (!Array.isArray(names)) continue
      for (const [index, name] of names.entries())
        add(of, name, `${path}.${field}.${list}.${index}`)
    }
  if (kind === 'application')
    add(
      'connectorGroup',
      Object.hasOwn(value, 'connectorGroup') ? value.connectorGroup : 'default',
      `${path}.connectorGroup`,
    )
  return found
}
