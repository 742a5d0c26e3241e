import type { FieldChange, ObjectChange } from '@sallyport/control/objects'
import { toPrintable } from '../output.ts'

const signs = { create: '+', update: '~', delete: '-' } as const

/** A plan for people: a line for each object, then one for each field. */
export function printChanges(changes: readonly ObjectChange[]): string[] {
  return changes.flatMap(({ action, kind, name, fields }) => [
    `${signs[action]} ${kind} ${toPrintable(name)}`,
    ...fields.map((field) => `    ${describeField(field)}`),
  ])
}

function describeField(change: FieldChange): string {
  if ('added' in change) {
    const names = [
      ...change.added.map((name) => `+ ${name}`),
      ...change.removed.map((name) => `- ${name}`),
    ]
    return `${change.field}: ${toPrintable(names.join(', '))}`
  }
  const { field, before, after } = change
  if (before === undefined) return `${field}: ${describe(after)}`
  return `${field}: ${describe(before)} -> ${describe(after)}`
}

function describe(value: unknown): string {
  if (value === undefined) return 'none'
  return toPrintable(typeof value === 'string' ? value : JSON.stringify(value))
}

/** How many there are of each, such as `1 to create, 2 to change, none to delete`. */
export function countChanges(
  changes: readonly ObjectChange[],
  words: readonly [create: string, update: string, remove: string],
): string {
  return (['create', 'update', 'delete'] as const)
    .map((action, index) => {
      const count = changes.filter((change) => change.action === action).length
      return `${count === 0 ? 'none' : count} ${words[index]}`
    })
    .join(', ')
}
