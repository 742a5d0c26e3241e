// `node main.ts [--port N] [--host ADDRESS] [--ready-file FILE]`: runs until SIGINT or SIGTERM.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startIntranet } from './index.ts'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    'ready-file': { type: 'string' },
  },
})
const intranet = await startIntranet({ port: Number(values.port), host: values.host })
const ready = JSON.stringify({ url: intranet.url })
console.log(ready)
if (values['ready-file']) writeFileSync(values['ready-file'], `${ready}\n`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => intranet.close())
}
