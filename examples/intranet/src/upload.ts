import type { IncomingMessage, ServerResponse } from 'node:http'
import { readBody } from './echo.ts'
import { Problem, sendJson } from './send.ts'

/** POST or PUT of anything; answers how many bytes came and their SHA-256. */
export async function upload(req: IncomingMessage, res: ServerResponse): Promise<void> {
  if (req.method !== 'POST' && req.method !== 'PUT') {
    throw new Problem(405, 'Send a body with POST or PUT.', { allow: 'POST, PUT' })
  }
  sendJson(res, 200, await readBody(req))
}
