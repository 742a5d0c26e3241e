import { pino } from 'pino'
import type { ServiceConfig } from './config.ts'
import { printLine } from './output.ts'
import { tellReady } from './readiness.ts'
import { startService } from './service.ts'
import { closeOnSignal } from './signals.ts'

/** `sallyport serve`: runs until it is told to end; prints one line of JSON when it listens. */
export async function serve(config: ServiceConfig): Promise<void> {
  const log = pino({ level: config.logLevel }, pino.destination(2))
  process.on('unhandledRejection', (error) => {
    log.fatal({ err: error }, 'unhandled rejection')
    process.exit(1)
  })
  const service = await startService(config, log)
  closeOnSignal(
    'sallyport',
    () => service.close(),
    () => service.reload(),
  )
  printLine(
    JSON.stringify({
      ready: true,
      port: service.port,
      plainPort: service.plainPort,
      metricsPort: service.metricsPort,
      pid: process.pid,
    }),
  )
  tellReady(log)
}
