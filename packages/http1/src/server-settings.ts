import { defaultHeadLimits, type HeadLimits } from './head.ts'
import type { ServerOptions } from './server-types.ts'
import { type Sweep, sweepFor } from './sweep.ts'

/** `ServerOptions` with every default filled in, and the clock that suits them. */
export interface ServerSettings extends Required<ServerOptions> {
  readonly sweep: Sweep
}

const MAX_HEAD_BYTES = 256 * 1024

const defaults: Required<Omit<ServerOptions, 'onRead'>> = {
  ...defaultHeadLimits,
  headTimeoutMs: 20_000,
  idleTimeoutMs: 75_000,
  bodyIdleTimeoutMs: 60_000,
  minBodyBytesPerSecond: 100,
  bodyRateWindowMs: 15_000,
  writeTimeoutMs: 120_000,
  lingerTimeoutMs: 3_000,
}

const resolved = new WeakMap<ServerOptions, ServerSettings>()

/** @returns the same settings for the same options object, so that ten thousand connections share them */
export function resolveServerOptions(options: ServerOptions): ServerSettings {
  const known = resolved.get(options)
  if (known !== undefined) return known
  const { onRead, ...limits } = options
  const settings = { ...defaults, ...limits }
  checkLimits(settings)
  const sweep = sweepFor([
    settings.headTimeoutMs,
    settings.idleTimeoutMs,
    settings.bodyIdleTimeoutMs,
    settings.bodyRateWindowMs,
    settings.writeTimeoutMs,
    settings.lingerTimeoutMs,
  ])
  const result = { ...settings, onRead, sweep }
  resolved.set(options, result)
  return result
}

/** @throws RangeError when a limit is no positive integer or the head would be larger than 256 KiB */
export function checkLimits(limits: HeadLimits): void {
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${name}: ${value}`)
  }
  if (limits.maxHeadBytes > MAX_HEAD_BYTES) {
    throw new RangeError(`maxHeadBytes: ${limits.maxHeadBytes} is over ${MAX_HEAD_BYTES}`)
  }
}
