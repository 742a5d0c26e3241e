import type { AccessRecord } from './access-record.ts'

/** Follows requests for somebody who collects traces. Absent unless that is wanted. */
export interface Tracing {
  /**
   * A request has come.
   *
   * @param fields of a client that may say whose part the request is (a trusted proxy); undefined for all others
   */
  begin(at: number, fields: readonly string[] | undefined): Trace
}

/** One request that is followed. */
export interface Trace {
  /** Fields that tell the origin, each with a CRLF in front. */
  readonly originLines: string
  end(record: AccessRecord): void
}

/** By which a trace is carried on: dropped from what clients send while there is tracing, because then they are ours. */
export const traceFields: ReadonlySet<string> = new Set(['traceparent', 'tracestate'])
