// The load: wrk for many small requests, curl for one big transfer.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { interruption } from './interruption.ts'

const run = promisify(execFile)
const SCRIPT = join(import.meta.dirname, 'wrk.lua')

/** Where requests go, and how they get in. */
export interface Target {
  /** Scheme, name and port; the name is not looked up: everything is on loopback. */
  url: string
  /** The Host field, where it is not the one in the URL. */
  host?: string
  /** Value of the Cookie field; undefined where nobody asks for one. */
  cookie?: string
  /** Certificates to trust, a PEM file. */
  caFile?: string
}

export interface Load {
  requests: number
  seconds: number
  bytes: number
  p50Ms: number
  p99Ms: number
  failed: { connect: number; read: number; write: number; timeout: number }
  /** Answers with a status of 400 and more. */
  refused: number
}

/** Keeps `connections` busy, one request at a time on each, from a single thread. */
export async function loadWithWrk(
  target: Target,
  path: string,
  { seconds, connections = 64 }: { seconds: number; connections?: number },
): Promise<Load> {
  const headers = [
    ...(target.cookie === undefined ? [] : ['-H', `Cookie: ${target.cookie}`]),
    ...(target.host === undefined ? [] : ['-H', `Host: ${target.host}`]),
  ]
  const options = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--latency']
  const { stdout } = await run(
    'wrk',
    [...options, ...headers, ...['-s', SCRIPT, target.url + path]],
    { signal: interruption },
  )
  const line = /^BENCH (.*)$/m.exec(stdout)?.[1]
  if (line === undefined) throw new Error(`wrk did not report:\n${stdout}`)
  return JSON.parse(line)
}

export interface Answer {
  status: number
  seconds: number
  /** Of the body, sent and received. */
  uploaded: number
  downloaded: number
}

/** One request by curl. The body of the answer goes to `outFile`, which may be /dev/null. */
export async function requestWithCurl(
  target: Target,
  path: string,
  { upload, outFile = '/dev/null' }: { upload?: string; outFile?: string } = {},
): Promise<Answer> {
  const { hostname, port } = new URL(target.url)
  const { stdout } = await run(
    'curl',
    [
      ...['--silent', '--show-error', '--http1.1', '--max-time', '600', '--output', outFile],
      ...['--resolve', `${hostname}:${port}:127.0.0.1`, '--noproxy', '*'],
      ...['--write-out', '%{http_code} %{time_total} %{size_upload} %{size_download}'],
      ...(target.caFile === undefined ? [] : ['--cacert', target.caFile]),
      ...(target.cookie === undefined ? [] : ['--cookie', target.cookie]),
      ...(target.host === undefined ? [] : ['--header', `Host: ${target.host}`]),
      // Waiting for 100 (Continue) measures round trips, not throughput.
      ...(upload === undefined ? [] : ['--upload-file', upload, '--header', 'Expect:']),
      target.url + path,
    ],
    { signal: interruption },
  )
  const [status, seconds, uploaded, downloaded] = stdout.split(' ').map(Number) as [
    number,
    number,
    number,
    number,
  ]
  return { status, seconds, uploaded, downloaded }
}
