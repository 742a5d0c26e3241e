import type { AccessRecord } from '@sallyport/gateway'

/**
 * One record as JSON on one line, in the order of its fields; what is undefined is left out. `JSON.stringify` would take
 * many times as long, for every request. What is likely to be as it was in the record before is not put together again.
 */
export function toAccessLine(record: AccessRecord): string {
  return (
    beginningOf(record.at) +
    quote(record.id) +
    targetOf(record) +
    quote(record.path) +
    outcomeOf(record) +
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

let latestAt = Number.NaN
let latestBeginning = ''

function beginningOf(at: number): string {
  if (at !== latestAt) {
    latestAt = at
    latestBeginning = `{"at":${at},"id":`
  }
  return latestBeginning
}

// Both are empty in records of heads that could not be read, so that none is equal at the beginning.
let latestHost: string | undefined
let latestMethod: string | undefined
let latestTarget = ''

function targetOf({ host, method }: AccessRecord): string {
  if (host !== latestHost || method !== latestMethod) {
    latestHost = host
    latestMethod = method
    latestTarget = toFlat(`,"host":${quote(host)},"method":${quote(method)},"path":`)
  }
  return latestTarget
}

let latestStatusCode = 0
let latestDecision = ''
let latestOutcome = ''

function outcomeOf({ statusCode, decision, reason }: AccessRecord): string {
  if (statusCode !== latestStatusCode || decision !== latestDecision) {
    latestStatusCode = statusCode
    latestDecision = decision
    latestOutcome = toFlat(`,"statusCode":${statusCode},"decision":"${decision}"`)
  }
  return reason === undefined ? latestOutcome : `${latestOutcome},"reason":${quote(reason)}`
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
  const text = toFlat(formatParties(record))
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

/** One piece: what it was put together of would stay alive, and be joined anew for every line. */
function toFlat(text: string): string {
  return Buffer.from(text).toString()
}

function optional(name: string, value: string | undefined): string {
  return value === undefined ? '' : name + quote(value)
}

/** Thousandths, as they follow the point. */
const thousandths = Array.from({ length: 1_000 }, (_, index) =>
  index === 0 ? '' : `.${String(index).padStart(3, '0')}`,
)

/** To microseconds: more digits say nothing. Two integers are printed much faster than a fraction. */
function duration(name: string, ms: number | undefined): string {
  if (ms === undefined) return ''
  const micros = Math.round(ms * 1000)
  const whole = Math.floor(micros / 1000)
  return name + whole + thousandths[micros - whole * 1000]
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
