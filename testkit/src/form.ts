export interface Form {
  /** As written; empty when the page itself takes it. */
  action: string
  /** Values by name, as the page fills them in. */
  fields: Record<string, string>
}

/** The one form of a page of ours. */
export function readForm(body: string): Form {
  const fields: Record<string, string> = {}
  for (const [tag] of body.matchAll(/<input\b[^>]*>/g)) {
    const name = attributeOf(tag, 'name')
    if (name !== '') fields[name] = attributeOf(tag, 'value')
  }
  const [form = ''] = /<form\b[^>]*>/.exec(body) ?? []
  return { action: attributeOf(form, 'action'), fields }
}

function attributeOf(tag: string, name: string): string {
  return decodeEntities(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? '')
}

function decodeEntities(text: string): string {
  return text
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&amp;/g, '&')
}
