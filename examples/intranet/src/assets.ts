import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'

const FOLDER = join(import.meta.dirname, '../public')

/** A handler for a file of the public folder, read once. */
export function asset(name: string, type: string) {
  const content = readFileSync(join(FOLDER, name))
  return (_req: IncomingMessage, res: ServerResponse): void => {
    res.writeHead(200, {
      'content-type': type,
      'content-length': content.length,
      'cache-control': 'no-cache',
    })
    res.end(content)
  }
}
