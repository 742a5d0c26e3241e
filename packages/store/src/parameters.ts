/** So many parameters fit into one statement of any database. */
export const limitParameters = 500

/**
 * A value as both databases store it, or a refusal. node:sqlite takes an object in first place for named
 * parameters and stores NaN as NULL; pg makes JSON of objects.
 *
 * @throws TypeError
 */
export function toParameter(value: unknown): unknown {
  // PostgreSQL has no text with U+0000. What strangers type comes here (RFC 9110 keeps it out of
  // headers, a form does not), so it becomes what a lone surrogate becomes too.
  if (typeof value === 'string')
    return value.includes('\0') ? value.replaceAll('\0', '\ufffd') : value
  const bindable =
    value === null ||
    typeof value === 'bigint' ||
    Number.isFinite(value) ||
    value instanceof Uint8Array
  if (!bindable) throw new TypeError(`cannot store a value of type ${typeof value}`)
  return value
}
