import { startConnector } from '../src/index.ts'

/** A connector in a process of its own: `connector-process.ts <state directory>`. */
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const connector = await startConnector({ stateDir: process.argv[2]!, log, drainMs: 0 })
process.once('SIGTERM', () => connector.close())
process.stdout.write('started\n')
