import type { ClientOptions } from './client-types.ts'
import { defaultHeadLimits } from './head.ts'
import { checkLimits } from './server-settings.ts'
import { type Sweep, sweepFor } from './sweep.ts'

/** `ClientOptions` with every default filled in, and the clock that suits them. */
export interface ClientSettings extends Required<ClientOptions> {
  readonly sweep: Sweep
}

const defaults: Required<Omit<ClientOptions, 'onRead'>> = {
  ...defaultHeadLimits,
  headTimeoutMs: 0,
  bodyIdleTimeoutMs: 0,
  idleTimeoutMs: 60_000,
  writeTimeoutMs: 120_000,
}

const resolved = new WeakMap<ClientOptions, ClientSettings>()

/** @returns the same settings for the same options object */
export function resolveClientOptions(options: ClientOptions): ClientSettings {
  const known = resolved.get(options)
  if (known !== undefined) return known
  const { onRead, ...limits } = options
  const settings = { ...defaults, ...limits }
  checkLimits(settings)
  const { headTimeoutMs, bodyIdleTimeoutMs, idleTimeoutMs, writeTimeoutMs } = settings
  const sweep = sweepFor([headTimeoutMs, bodyIdleTimeoutMs, idleTimeoutMs, writeTimeoutMs])
  const result = { ...settings, onRead, sweep }
  resolved.set(options, result)
  return result
}
