import {
  type BodyFraming,
  type FieldList,
  formatRequestLines,
  HeadReader,
  type RequestHead,
  type RequestLines,
} from '@sallyport/http1'
import { filterRequestFields, type RequestFacts } from './fields.ts'

/** A request for an origin, read and checked, with its field lines as they are to be sent. */
export interface OriginRequest extends Omit<RequestHead, 'fields'> {
  readonly fields: RequestLines
  /** The fields that `fields` were made of, but for `Connection` and `Upgrade`. */
  readonly list: FieldList
  readonly framing: BodyFraming
  /** What it asks to switch to, when it may ask that. */
  readonly upgrade: string | undefined
  readonly authenticatesConnection: boolean
}

// As large as the tunnel lets a head be: the gateway has its own, smaller limits for clients.
const headLimits = { maxHeadBytes: 262_144, maxFields: 500, maxTargetBytes: 65_536 }
/** So many people's requests come in turn, each with much the same fields as the one before. */
const maxKept = 1_024

/**
 * Reads the heads that the gateway sends. It faces the internet and may fall, so they are parsed as strictly as it parses
 * its clients; what follows from the fields alone is worked out once for all requests that repeat them.
 */
export class OriginRequests {
  readonly #reader = new HeadReader(headLimits, maxKept)
  readonly #facts = new WeakMap<FieldList, RequestFacts & { lines: RequestLines }>()

  /**
   * @param mayUpgrade the instruction lets the connection become a pipe
   * @throws Http1Error as `parseRequestHead` and `requestFraming`
   */
  read(text: string, mayUpgrade: boolean): OriginRequest {
    const { method, target, versionMinor, fields } = this.#reader.readRequest(text)
    const framing = this.#reader.requestFraming
    const facts = this.#factsOf(fields, framing)
    const { authenticatesConnection } = facts
    const upgrade = mayUpgrade ? facts.upgrade : undefined
    const lines =
      upgrade === undefined
        ? facts.lines
        : formatRequestLines(
            [...facts.fields, 'Connection', 'Upgrade', 'Upgrade', upgrade],
            framing,
          )
    return {
      method,
      target,
      versionMinor,
      fields: lines,
      list: facts.fields,
      framing,
      upgrade,
      authenticatesConnection,
    }
  }

  /**
   * The same request with fields of sign-on, which take the place of any that the gateway sent by their names, and of
   * `Authorization` always: it would be somebody else's, and might tie them to the connection.
   *
   * @param signOnFields name, value, name, value ...
   * @throws Http1Error `HTTP1_HEAD_INVALID`
   */
  withFields(request: OriginRequest, signOnFields: FieldList): OriginRequest {
    const ours = new Set(['authorization'])
    for (let index = 0; index < signOnFields.length; index += 2)
      ours.add(signOnFields[index]!.toLowerCase())
    const { framing, upgrade } = request
    const kept: FieldList = []
    for (let index = 0; index < request.list.length; index += 2)
      if (!ours.has(request.list[index]!.toLowerCase()))
        kept.push(request.list[index]!, request.list[index + 1]!)
    kept.push(...signOnFields)
    if (upgrade !== undefined) kept.push('Connection', 'Upgrade', 'Upgrade', upgrade)
    return {
      ...request,
      list: kept,
      fields: formatRequestLines(kept, framing),
      authenticatesConnection: false,
    }
  }

  #factsOf(fields: FieldList, framing: BodyFraming): RequestFacts & { lines: RequestLines } {
    const known = this.#facts.get(fields)
    if (known) return known
    const facts = filterRequestFields(fields)
    const found = { ...facts, lines: formatRequestLines(facts.fields, framing) }
    this.#facts.set(fields, found)
    return found
  }
}
