import type { ServiceConfig } from '../config.ts'
import type { Metrics, MetricsSource } from './metrics.ts'

/** @returns undefined unless the configuration asks for metrics: nothing of them is loaded then */
export async function makeMetrics(
  config: Pick<ServiceConfig, 'metricsListen'>,
  source: MetricsSource,
): Promise<Metrics | undefined> {
  if (!config.metricsListen) return undefined
  const { Metrics } = await import('./metrics.ts')
  return new Metrics(source)
}
