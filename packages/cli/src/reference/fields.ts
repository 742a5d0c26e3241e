/** One field of a schema, as a reference shows it. */
export interface Field {
  /** Such as `listen.port`, or `certificates[].keyFile`. */
  path: string
  values: string
  /** What it has when it is left out. */
  fallback: string
  description: string
}

/** The part of JSON Schema that our schemas make. */
export interface JsonSchema {
  type?: string
  properties?: Record<string, JsonSchema>
  required?: string[]
  items?: JsonSchema
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  enum?: unknown[]
  const?: unknown
  maxLength?: number
  minimum?: number
  maximum?: number
  default?: unknown
  description?: string
}

/**
 * Fields of an object, those within it behind it.
 *
 * @throws TypeError when a field has no description: it would be a line that says nothing
 */
export function toFields(
  schema: JsonSchema,
  above = '',
  without: ReadonlySet<string> = new Set(),
): Field[] {
  const fields = Object.entries(schema.properties ?? {}).filter(([name]) => !without.has(name))
  return fields.flatMap(([name, field]) => {
    const path = `${above}${name}`
    const within = field.properties
      ? toFields(field, `${path}.`)
      : field.items?.properties
        ? toFields(field.items, `${path}[].`)
        : []
    // What only holds others says nothing that they do not.
    if (within.length > 0 && field.description === undefined) return within
    if (field.description === undefined) throw new TypeError(`${path} has no description`)
    const isRequired = schema.required?.includes(name) ?? false
    return [
      {
        path,
        values: toValues(field),
        fallback: isRequired ? 'required' : toDefault(field),
        description: field.description,
      },
      ...within,
    ]
  })
}

function toValues(field: JsonSchema): string {
  if (field.const !== undefined) return code(field.const)
  if (field.enum) return field.enum.map(code).join(', ')
  const branches = field.anyOf ?? field.oneOf
  if (branches) return [...new Set(branches.map(toBranch))].join('; or ')
  switch (field.type) {
    case 'integer':
      return `${toRange(field.minimum)} to ${toRange(field.maximum)}`
    case 'boolean':
      return '`true`, `false`'
    case 'array':
      return field.items?.type === 'string' ? 'list of texts' : 'list'
    case 'string':
      return field.maxLength === undefined
        ? 'text'
        : `text of at most ${field.maxLength} characters`
    default:
      return field.type ?? 'any'
  }
}

/** Of a choice between objects, the field that decides it. */
function toBranch(branch: JsonSchema): string {
  const deciding = Object.entries(branch.properties ?? {}).find(([, { const: one }]) => one)
  if (!deciding) return toValues(branch)
  const others = Object.keys(branch.properties!).filter((name) => name !== deciding[0])
  const more = others.length === 0 ? '' : ` with ${others.map(code).join(', ')}`
  return `\`${deciding[0]}: ${deciding[1].const}\`${more}`
}

function toDefault({ default: value }: JsonSchema): string {
  if (value === undefined) return ''
  if (Array.isArray(value) && value.length === 0) return 'none'
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .map(([name, inner]) => `\`${name}: ${inner}\``)
      .join(', ')
  return code(value)
}

function toRange(limit: number | undefined): string {
  return limit === undefined ? 'any' : limit.toLocaleString('en')
}

function code(value: unknown): string {
  return `\`${value}\``
}
