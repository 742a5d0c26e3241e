import type { AccessRecord } from '@sallyport/gateway'

/**
 * One record as JSON on one line, in the order of its fields; what is undefined is left out. `JSON.stringify` would take
 * three times as long, for every request.
 */
export function toAccessLine(record: AccessRecord): string {
  return (
    `{"at":${record.at},"id":${quote(record.id)},"host":${quote(record.host)}` +
    `,"method":${quote(record.method)},"path":${quote(record.path)}` +
    `,"statusCode":${record.statusCode},"decision":"${record.decision}"` +
    optional(',"reason":', record.reason) +
    partiesOf(record) +
    `,"receivedBytes":${record.receivedBytes},"sentBytes":${record.sentBytes}` +
    duration(',"totalMs":', record.totalMs) +
    duration(',"gatewayMs":', record.gatewayMs) +
    duration(',"connectorMs":', record.connectorMs) +
    duration(',"originMs":', record.originMs) +
    optional(',"detail":', record.detail) +
    '}\n'
  )
}

/** What is the same for most requests of a session. */
type Parties = Pick<
  AccessRecord,
  'application' | 'applicationId' | 'userId' | 'userName' | 'connector' | 'clientAddress'
>

/** The latest of each session, with its text: to put it together is half of the work for a line. */
const knownParties = new Map<string, { parties: Parties; text: string }>()
const limitKnown = 1_000

function partiesOf(record: AccessRecord): string {
  const { sessionId } = record
  if (sessionId === undefined) return formatParties(record)
  const known = knownParties.get(sessionId)
  if (known && areSame(known.parties, record)) return known.text
  // One flat string: what it was put together of would stay alive, and be joined anew for every line.
  const text = Buffer.from(formatParties(record)).toString()
  const { application, applicationId, userId, userName, connector, clientAddress } = record
  const parties = { application, applicationId, userId, userName, connector, clientAddress }
  if (knownParties.size >= limitKnown) knownParties.clear()
  knownParties.set(sessionId, { parties, text })
  return text
}

function areSame(left: Parties, right: Parties): boolean {
  return (
    left.clientAddress === right.clientAddress &&
    left.applicationId === right.applicationId &&
    left.connector === right.connector &&
    left.application === right.application &&
    left.userId === right.userId &&
    left.userName === right.userName
  )
}

function formatParties(record: AccessRecord): string {
  return (
    optional(',"application":', record.application) +
    optional(',"applicationId":', record.applicationId) +
    optional(',"userId":', record.userId) +
    optional(',"userName":', record.userName) +
    optional(',"sessionId":', record.sessionId) +
    optional(',"connector":', record.connector) +
    `,"clientAddress":${quote(record.clientAddress)}`
  )
}

function optional(name: string, value: string | undefined): string {
  return value === undefined ? '' : name + quote(value)
}

/** To microseconds: more digits say nothing. Two integers are printed much faster than a fraction. */
function duration(name: string, ms: number | undefined): string {
  if (ms === undefined) return ''
  const micros = Math.round(ms * 1000)
  const whole = Math.floor(micros / 1000)
  const rest = micros - whole * 1000
  if (rest === 0) return name + whole
  return `${name}${whole}.${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}`
}

const plain = /^[ !#-[\]-~]*$/

function quote(text: string): string {
  return plain.test(text) ? `"${text}"` : escapeControls(JSON.stringify(text))
}

/** JSON leaves some control characters as they are, which terminals obey and other readers take for the end of a line. */
function escapeControls(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
