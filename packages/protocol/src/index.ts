/**
 * The tunnel between gateway and connector: many streams over one Duplex.
 *
 * The connector dials and wraps its TLS socket in a `TunnelSession` with `side: 'connector'`; the
 * gateway wraps the accepted one with `side: 'gateway'` and opens streams over it, one per HTTP
 * exchange. A stream carries an opening instruction, heads, a body and trailers, both ways, with
 * credit per stream: a reader that pauses slows its own sender and nobody else. Bytes on the wire:
 * SPEC.md. No dependencies; nothing here knows TLS or HTTP.
 */
export {
  findResetName,
  GoAwayCode,
  isResetCode,
  ResetCode,
  TunnelError,
  type TunnelErrorCode,
  type TunnelErrorFacts,
} from './errors.ts'
export { defaultLimits, TunnelSession } from './session.ts'
export type {
  StreamHandler,
  TunnelClock,
  TunnelLimits,
  TunnelOptions,
  TunnelStream,
} from './tunnel.ts'
