/** Fields with such names hold epoch milliseconds; people read them in UTC. */
const instant = /^at$|At$/

/**
 * Text for a terminal or a log: what could move the cursor, change colours or turn the direction of writing
 * is shown as its code. User agents and the names that other machines show come from strangers.
 */
export function toPrintable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, toEscape)
}

/** JSON for programs, which may be looked at in a terminal all the same. */
export function toJson(value: unknown): string {
  return escapeJson(JSON.stringify(value, null, 2))
}

/** One value on one line. */
export function toJsonLine(value: unknown): string {
  return escapeJson(JSON.stringify(value))
}

/** JSON itself escapes the control characters below U+0020 only. */
function escapeJson(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    toEscape,
  )
}

function toEscape(character: string): string {
  return [...Array(character.length).keys()]
    .map((index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`)
    .join('')
}

export type Row = Record<string, unknown>

/**
 * Rows as columns.
 *
 * @param columns names of the fields that are shown; default all of the first row
 */
export function toTable(
  rows: readonly Row[],
  columns: readonly string[] = Object.keys(rows[0] ?? {}),
): string {
  const table = [columns.map(toTitle), ...rows.map((row) => toCells(row, columns))]
  const widths = columns.map((_, column) =>
    Math.max(...table.map((cells) => cells[column]!.length)),
  )
  return table.map((cells) => toLine(cells, widths)).join('\n')
}

/** One row, for lists that go on: columns are at least so wide. */
export function toTableLine(row: Row, columns: Readonly<Record<string, number>>): string {
  return toLine(toCells(row, Object.keys(columns)), Object.values(columns))
}

function toCells(row: Row, columns: readonly string[]): string[] {
  return columns.map((name) => toCell(name, row[name]))
}

function toLine(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, column) => cell.padEnd(widths[column]!))
    .join('  ')
    .trimEnd()
}

function toTitle(name: string): string {
  return name
    .replace(/At$/, '')
    .replace(/[A-Z]/g, (letter) => ` ${letter}`)
    .trim()
    .toUpperCase()
}

function toCell(name: string, value: unknown): string {
  if (value === undefined || value === null || value === '') return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'number' && instant.test(name))
    return `${new Date(value).toISOString().slice(0, 19).replace('T', ' ')}Z`
  if (Array.isArray(value)) return value.length === 0 ? '-' : toPrintable(value.join(', '))
  if (typeof value === 'object')
    return Object.keys(value).length === 0 ? '-' : toPrintable(JSON.stringify(value))
  return toPrintable(String(value))
}

export function printLine(text: string): void {
  process.stdout.write(`${text}\n`)
}
