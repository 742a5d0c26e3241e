import { setTimeout as delay } from 'node:timers/promises'
import { loadWithWrk, requestWithCurl } from './load.ts'
import type { Origin } from './origin.ts'
import type { SallyportSide } from './sallyport.ts'

// What is promised: an ended session is refused by every gateway within this time.
const LIMIT_MS = 2000

/**
 * Ends the session in the middle of a run.
 *
 * @throws Error when a request still reaches the origin after two seconds, or was not refused
 */
export async function checkRevocation(side: SallyportSide, origin: Origin): Promise<string> {
  const load = loadWithWrk(side.tls, '/120', { seconds: 6 })
  await delay(1500)
  await side.revoke()
  await delay(LIMIT_MS)
  const before = await origin.countRequests()
  const { status } = await requestWithCurl(side.tls, '/120')
  const { requests, refused } = await load
  // Asking for the count is a request, too.
  const reached = (await origin.countRequests()) - before - 1
  if (reached !== 0 || status !== 401 || refused === 0 || refused === requests) {
    throw new Error(
      `a session that was ended is not refused: ${JSON.stringify({ reached, status, requests, refused })}`,
    )
  }
  return `${requests - refused} requests answered, then the session ended: ${refused} refused, none at the origin`
}
