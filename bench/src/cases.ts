/** What is measured, in this order. */
export interface Case {
  name: string
  kind: 'load' | 'download' | 'upload'
  edge: 'tls' | 'plain'
  path: string
  /** Length of the body of an answer. */
  bytes: number
  /** What must hold for a release; no gate where it is missing. */
  gate?: Gate
}

export interface Gate {
  minRps?: number
  maxCpu?: number
  maxP99?: number
  minThroughput?: number
}

const LOAD_GATE = { minRps: 2, maxCpu: 0.65, maxP99: 1 }
const TRANSFER_GATE = { minThroughput: 0.9 }

/** What we aim at, beside what must hold. */
export const GOAL: Required<Gate> = { minRps: 2.5, maxCpu: 0.5, maxP99: 1, minThroughput: 1 }

export const CASES: Case[] = [
  { name: '120 B, tls', kind: 'load', edge: 'tls', path: '/120', bytes: 120, gate: LOAD_GATE },
  { name: '120 B, plain', kind: 'load', edge: 'plain', path: '/120', bytes: 120 },
  { name: '16k, tls', kind: 'load', edge: 'tls', path: '/16k', bytes: 16_384 },
  { name: '16k, plain', kind: 'load', edge: 'plain', path: '/16k', bytes: 16_384 },
  {
    ...{ name: 'download 1 GB, tls', kind: 'download', edge: 'tls', path: '/download' },
    ...{ bytes: 1e9, gate: TRANSFER_GATE },
  },
  {
    ...{ name: 'upload 1 GB, tls', kind: 'upload', edge: 'tls', path: '/upload' },
    ...{ bytes: 1e9, gate: TRANSFER_GATE },
  },
]
