import type { AccessRecord } from '@sallyport/gateway'
import { LineBytes } from './line-bytes.ts'

/**
 * Writes one record as JSON on one line, in the order of its fields; what is undefined is left out. `JSON.stringify` would take
 * many times as long, for every request. What is likely to be as it was in the record before is not put together again.
 */
export function writeAccessLine(to: LineBytes, record: AccessRecord): void {
  to.encoded(beginningOf(record.at))
  to.quoted(record.id)
  to.encoded(targetOf(record))
  to.quoted(record.path)
  to.encoded(outcomeOf(record))
  field(to, ',"reason":', record.reason)
  to.encoded(partiesOf(record))
  to.ascii(',"receivedBytes":')
  to.integer(record.receivedBytes)
  to.ascii(',"sentBytes":')
  to.integer(record.sentBytes)
  duration(to, ',"totalMs":', record.totalMs)
  duration(to, ',"gatewayMs":', record.gatewayMs)
  duration(to, ',"connectorMs":', record.connectorMs)
  duration(to, ',"originMs":', record.originMs)
  field(to, ',"detail":', record.detail)
  to.ascii('}\n')
}

const nothing: Buffer = Buffer.alloc(0)

let latestAt = Number.NaN
let latestBeginning = nothing

function beginningOf(at: number): Buffer {
  if (at !== latestAt) {
    latestAt = at
    latestBeginning = encode((to) => {
      to.ascii('{"at":')
      to.integer(at)
      to.ascii(',"id":')
    })
  }
  return latestBeginning
}

// Both are empty in records of heads that could not be read, so that none is equal at the beginning.
let latestHost: string | undefined
let latestMethod: string | undefined
let latestTarget = nothing

function targetOf({ host, method }: AccessRecord): Buffer {
  if (host !== latestHost || method !== latestMethod) {
    latestHost = host
    latestMethod = method
    latestTarget = encode((to) => {
      field(to, ',"host":', host)
      field(to, ',"method":', method)
      to.ascii(',"path":')
    })
  }
  return latestTarget
}

let latestStatusCode = 0
let latestDecision = ''
let latestOutcome = nothing

function outcomeOf({ statusCode, decision }: AccessRecord): Buffer {
  if (statusCode !== latestStatusCode || decision !== latestDecision) {
    latestStatusCode = statusCode
    latestDecision = decision
    latestOutcome = encode((to) => {
      to.ascii(',"statusCode":')
      to.integer(statusCode)
      field(to, ',"decision":', decision)
    })
  }
  return latestOutcome
}

/** What is the same for most requests of a session. */
type Parties = Pick<
  AccessRecord,
  'application' | 'applicationId' | 'userId' | 'userName' | 'connector' | 'clientAddress'
>

/** The latest of each session, with its text: to put it together is half of the work for a line. */
const knownParties = new Map<string, { parties: Parties; text: Buffer }>()
const limitKnown = 1_000

function partiesOf(record: AccessRecord): Buffer {
  const { sessionId } = record
  if (sessionId === undefined) return encodeParties(record)
  const known = knownParties.get(sessionId)
  if (known && areSame(known.parties, record)) return known.text
  const text = encodeParties(record)
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

function encodeParties(record: AccessRecord): Buffer {
  return encode((to) => {
    field(to, ',"application":', record.application)
    field(to, ',"applicationId":', record.applicationId)
    field(to, ',"userId":', record.userId)
    field(to, ',"userName":', record.userName)
    field(to, ',"sessionId":', record.sessionId)
    field(to, ',"connector":', record.connector)
    field(to, ',"clientAddress":', record.clientAddress)
  })
}

const scratch = new LineBytes(1_024)

function encode(write: (to: LineBytes) => void): Buffer {
  scratch.clear()
  write(scratch)
  return Buffer.from(scratch.view())
}

/** Left out when there is no value. */
function field(to: LineBytes, name: string, value: string | undefined): void {
  if (value === undefined) return
  to.ascii(name)
  to.quoted(value)
}

/** To microseconds: more digits say nothing. */
function duration(to: LineBytes, name: string, ms: number | undefined): void {
  if (ms === undefined) return
  to.ascii(name)
  to.thousandths(ms)
}
