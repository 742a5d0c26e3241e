import type { IncomingMessage } from 'node:http'

/** What some proxy said about the person at the other end. Whether to believe it is not ours. */
export interface Who {
  userName?: string
  displayName?: string
  mail?: string
  groups?: string
}

// The names under which products of this kind expect a person; the first that is there counts.
const FIELDS: Record<keyof Who, string[]> = {
  userName: ['x-user', 'x-user-name', 'x-username', 'x-remote-user', 'remote-user'].concat(
    'x-forwarded-user',
    'x-forwarded-preferred-username',
    'x-ms-client-principal-name',
  ),
  displayName: [
    'x-user-display-name',
    'x-display-name',
    'x-name',
    'x-user-fullname',
    'x-user-name',
  ],
  mail: ['x-user-email', 'x-user-mail', 'x-email', 'x-mail', 'x-forwarded-email'],
  groups: ['x-user-groups', 'x-groups', 'x-forwarded-groups'],
}

export function readWho(req: IncomingMessage): Who {
  const found = Object.entries(FIELDS).flatMap(([fact, names]) => {
    const value = names.map((name) => req.headers[name]).find((value) => value !== undefined)
    return value === undefined ? [] : [[fact, toText(String(value))]]
  })
  return Object.fromEntries(found)
}

// Node gives a field's bytes as latin1; senders of names mean UTF-8.
function toText(field: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(field, 'latin1'))
  } catch {
    return field
  }
}
