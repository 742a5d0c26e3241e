import { type StreamHandler, TunnelError, type TunnelSession } from '@sallyport/protocol'

/** IDs in one OPEN, which holds 64 KiB; an ID is a UUID, or shorter. */
export const limitForgotten = 500

/** Of whom and of what a connector keeps nothing any more; at most `limitForgotten` of each. */
export interface Forgotten {
  users?: readonly string[]
  sessions?: readonly string[]
  /** Connections of clients that have closed, by the names that requests gave them. */
  connections?: readonly string[]
}

/** Tells a connector. One that is full or closing is not told: its own end is in sight. */
export function sendForgotten(session: TunnelSession, forgotten: Forgotten): void {
  if (session.draining) return
  const forget = { users: [], sessions: [], ...forgotten }
  try {
    session.openStream(`\0${JSON.stringify({ v: 1, forget })}`, nobody).sendHead('FORGET', true)
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error
  }
}

/** Nothing of the answer matters. */
const nobody: StreamHandler = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onWritable: () => undefined,
  onReset: () => undefined,
}
