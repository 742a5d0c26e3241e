import type { Logger } from 'pino'
import type { ServiceConfig } from '../config.ts'
import type { RequestTracing } from './tracing.ts'

/** @returns undefined unless the configuration asks for traces: nothing of OpenTelemetry is loaded then */
export async function startTracing(
  { tracing }: Pick<ServiceConfig, 'tracing'>,
  log: Logger,
): Promise<RequestTracing | undefined> {
  if (!tracing) return undefined
  const { RequestTracing } = await import('./tracing.ts')
  return new RequestTracing(tracing, log)
}
