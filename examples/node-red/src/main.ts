// `node main.ts --user-dir DIR [--port N] [--ready-file FILE]`: runs until SIGINT or SIGTERM.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startNodeRed } from './index.ts'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'user-dir': { type: 'string' },
    'ready-file': { type: 'string' },
  },
})
if (values['user-dir'] === undefined) {
  console.error('error: --user-dir is missing: name a folder for flows and credentials')
  process.exit(1)
}
const nodeRed = await startNodeRed({ userDir: values['user-dir'], port: Number(values.port) })
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => nodeRed.close())
}
const ready = JSON.stringify({ url: nodeRed.url, pid: nodeRed.pid })
console.log(ready)
if (values['ready-file']) writeFileSync(values['ready-file'], `${ready}\n`)
