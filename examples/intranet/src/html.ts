/** Markup that is safe to put into a page as it is. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

type Value = string | number | Html | undefined | Value[]

/** A template whose values are escaped, unless they came from this template themselves. */
export function html(parts: TemplateStringsArray, ...values: Value[]): Html {
  const rest = values.map((value, index) => toText(value) + parts[index + 1])
  return new Html(parts[0] + rest.join(''))
}

function toText(value: Value): string {
  if (value === undefined) return ''
  if (value instanceof Html) return value.text
  if (Array.isArray(value)) return value.map(toText).join('')
  return String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
