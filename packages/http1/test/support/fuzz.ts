import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import { fieldValues, findField } from '../../src/index.ts'
import { cut, type ReadRequest, readRequests, readResponse } from './drive.ts'
import { generateRequests, generateResponse } from './generate.ts'
import { type NginxOracle, passedOn } from './nginx.ts'
import {
  type NodeServerOracle,
  type OracleRequests,
  readResponseByNode,
  SENTINEL,
} from './oracles.ts'
import { Random } from './random.ts'

/** Bytes on which our codec, or our codec and another, must agree. */
export type Input =
  | { kind: 'request'; text: string }
  | { kind: 'response'; method: string; text: string }

/** An input that is kept, with what is to come of it if somebody has said so. */
export type Vector = Input & { why?: string; outcome?: string; read?: string[] }

export interface FuzzReport {
  inputs: number
  /** How many were read to an end without an error; a fuzzer that never gets there proves little. */
  accepted: number
  refused: number
}

const vectors = new URL('../../vectors/', import.meta.url)

/**
 * Generates inputs and holds each against `check`.
 *
 * @param check throws when something is wrong with the input
 * @returns what came of it; throws at the first failure, after it was written to vectors/
 */
export async function fuzz(
  seed: number,
  count: number,
  kind: Input['kind'],
  check: (input: Input, random: Random) => Promise<boolean> | boolean,
): Promise<FuzzReport> {
  const report: FuzzReport = { inputs: 0, accepted: 0, refused: 0 }
  const random = new Random(seed)
  for (; report.inputs < count; report.inputs++) {
    const input: Input =
      kind === 'request'
        ? { kind, text: generateRequests(random) }
        : { kind, ...generateResponse(random) }
    try {
      const accepted = check(input, random)
      if (typeof accepted === 'boolean' ? accepted : await accepted) report.accepted++
      else report.refused++
    } catch (error) {
      const file = keepVector(input)
      throw new Error(`seed ${seed}, input ${report.inputs}, kept as ${file}`, { cause: error })
    }
    // What destroyed sockets still have to tell would pile up.
    if (report.inputs % 200 === 0) await new Promise(setImmediate)
  }
  return report
}

function keepVector(input: Input): string {
  const text = JSON.stringify(input, undefined, 2)
  const name = `${input.kind}-${createHash('sha256').update(text).digest('hex').slice(0, 12)}.json`
  writeFileSync(new URL(name, vectors), `${text}\n`)
  return name
}

/** However the bytes are cut into pieces, they mean the same. */
export function checkSplits(input: Input, random: Random): boolean {
  if (input.kind === 'request') {
    const { consumed: _, ...whole } = readRequests([input.text])
    for (const how of ['bytes', random] as const) {
      const { consumed: __, ...pieces } = readRequests(cut(input.text, how))
      assert.deepEqual(pieces, whole)
    }
    return whole.requests.length > 0
  }
  const { consumed: _, ...whole } = readResponse(input.method, [input.text], true)
  for (const how of ['bytes', random] as const) {
    const { consumed: __, ...pieces } = readResponse(input.method, cut(input.text, how), true)
    assert.deepEqual(pieces, whole)
  }
  return whole.outcome === 'complete'
}

/**
 * What we accept, node:http reads as the same, and ends at the same byte. Where node refuses what we accept, the reason
 * is one of those named here.
 */
export function checkAgainstNode(oracle: NodeServerOracle): (input: Input) => Promise<boolean> {
  return async (input) => {
    if (input.kind === 'response') return checkResponseAgainstNode(input)
    // Byte by byte, so that the place where the last request ends is known.
    const ours = readRequests([...input.text])
    const { requests } = ours
    if (requests.length === 0) return false
    // After a request that ends the connection there is nothing to be read.
    const sentinel = ours.outcome === 'closing' ? '' : SENTINEL
    const theirs = await oracle.read(input.text.slice(0, ours.consumed) + sentinel)
    agree(theirs, requests, nodeRefuses, (request) => request)
    return true
  }
}

/** All is read alike, unless the other refuses a request for a reason that is named; then nothing after it counts. */
function agree(
  theirs: OracleRequests,
  ours: ReadRequest[],
  refuses: (request: ReadRequest) => boolean,
  comparable: (request: ReadRequest) => unknown,
): void {
  const { length } = theirs.requests
  const refused = ours[length]
  const excused = theirs.outcome !== 'done' && refused !== undefined && refuses(refused)
  const expected = excused ? ours.slice(0, length) : ours
  assert.deepEqual(theirs.requests.map(comparable), expected.map(comparable))
  if (!excused) assert.equal(theirs.outcome, 'done')
}

/** The named exceptions: what we accept, and node:http does not. */
function nodeRefuses({ method, target }: ReadRequest): boolean {
  // RFC 9110 section 9.1: methods are any token; llhttp knows a list.
  if (!http.METHODS.includes(method)) return true
  // llhttp ends a CONNECT request where its head ends; we refuse to make a tunnel.
  if (method === 'CONNECT') return true
  // llhttp checks the form of targets; that is the gateway's matter here.
  return !/^(?:\/|\*$|[a-z]+:\/\/[a-z0-9.:[\]-]+(?:[/?]|$))/i.test(target)
}

async function checkResponseAgainstNode(
  input: Extract<Input, { kind: 'response' }>,
): Promise<boolean> {
  const { method, text } = input
  const pieces = [...text]
  const open = readResponse(method, pieces, false)
  const end = open.outcome === 'waiting'
  const ours = end ? readResponse(method, pieces, true) : open
  if (ours.outcome !== 'complete' && ours.outcome !== 'unsolicited') return false
  const bytes = end ? text : text.slice(0, ours.consumed)
  const theirs = await readResponseByNode(method, bytes, end)
  const { consumed: _, ...expected } = { ...ours, outcome: 'complete' }
  assert.deepEqual(theirs, expected)
  return true
}

/** As `checkAgainstNode`, for nginx. */
export function checkAgainstNginx(oracle: NginxOracle): (input: Input) => Promise<boolean> {
  return async (input) => {
    if (input.kind === 'response') return checkResponseAgainstNginx(oracle, input)
    const ours = readRequests([...input.text])
    const { requests } = ours
    if (requests.length === 0) return false
    const sentinel = ours.outcome === 'closing' ? '' : SENTINEL
    const theirs = await oracle.readRequests(input.text.slice(0, ours.consumed) + sentinel)
    // It searches `close` anywhere in Connection, and ends the connection after that request.
    const closing = requests.findIndex(({ fields }) =>
      fieldValues(fields, 'connection').some((value) => /close/i.test(value)),
    )
    const expected = closing === -1 ? requests : requests.slice(0, closing + 1)
    agree(theirs, expected, nginxRefuses, compared)
    return true
  }
}

/** What nginx passes on: trailers, for one, it does not. */
function compared({ method, target, fields, body }: ReadRequest): unknown[] {
  // nginx turns the absolute form into the origin form.
  const path = target.replace(/^[^/?]+:\/\/[^/?]*/, '')
  return [method, path === '' ? '/' : path, passedOn(fields), body]
}

/** The named exceptions: what we accept, and nginx does not. */
function nginxRefuses({ method, target, fields }: ReadRequest): boolean {
  if (!/^[A-Z_-]+$/.test(method) || method === 'CONNECT' || method === 'TRACE') return true
  // RFC 9112 section 3.2: the form of targets and Host is the gateway's matter here.
  if (!/^(?:https?:\/\/[a-z0-9.]+)?\//i.test(target)) return true
  // It normalises paths, and refuses those that lead out of the root.
  if (/\.\.|%2e/i.test(target) || target.includes('%')) return true
  // It takes some fields once only.
  if (fieldValues(fields, 'expect').length > 1) return true
  const host = findField(fields, 'host') ?? 'a'
  return !/^(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::[0-9]+)?$/i.test(host)
}

// From an origin, it drops fields by other names; and these are its own, or move.
const NGINX_NAME = /^(?!(?:server|date|content-type)$)[a-z0-9_-]+$/i

async function checkResponseAgainstNginx(
  oracle: NginxOracle,
  { method, text }: Extract<Input, { kind: 'response' }>,
): Promise<boolean> {
  const pieces = [...text]
  const open = readResponse(method, pieces, false)
  const end = open.outcome === 'waiting'
  const ours = end ? readResponse(method, pieces, true) : open
  if (ours.outcome !== 'complete' && ours.outcome !== 'unsolicited') return false
  if (ours.informational.length > 0) return false
  const bytes = end ? text : text.slice(0, ours.consumed)
  const forwarded = await oracle.forwardResponse(method, bytes, end)
  const theirs = await readResponseByNode(method, forwarded, true)
  const fields = passedOn(theirs.head?.fields ?? [], NGINX_NAME)
  assert.deepEqual(
    { statusCode: theirs.head?.statusCode, body: theirs.body, outcome: theirs.outcome, fields },
    {
      statusCode: ours.head!.statusCode,
      body: ours.body,
      outcome: 'complete',
      fields: passedOn(ours.head!.fields, NGINX_NAME),
    },
  )
  return true
}
