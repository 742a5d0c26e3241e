import {
  type FieldList,
  formatResponseLines,
  type ResponseHead,
  type ResponseLines,
} from '@sallyport/http1'
import type { Exchange } from './exchange.ts'
import { toClientFields, toInformationalFields } from './to-client.ts'
import type { Destination } from './view.ts'

/** The field lines of an origin's answer for the client: those that its connection had the last time if they would be the same. */
export function toAnswerLines(
  { fields, statusCode }: ResponseHead,
  exchange: Exchange,
  destination: Destination,
  sessionFields: FieldList,
): ResponseLines {
  const make = () =>
    formatResponseLines([...toClientFields(fields, exchange), ...sessionFields], statusCode)
  if (sessionFields.length > 0) return make()
  const { client, host } = exchange
  return client.answerLines({ fields, destination, host, statusCode }, make)
}

/** Passes on an answer before the answer. */
export function sendInformational(exchange: Exchange, head: ResponseHead): void {
  const { server } = exchange
  if (head.statusCode === 100) server.sendContinue()
  else server.sendInformational({ ...head, fields: toInformationalFields(head.fields, exchange) })
}

/** A body that no status and no method forbids has the length that it says; undefined when none is known. */
export function bodyLengthOf(
  { server }: Exchange,
  statusCode: number,
  lines: ResponseLines,
): number | undefined {
  return statusCode === 204 || statusCode === 304 || server.request.method === 'HEAD'
    ? undefined
    : lines.length
}
