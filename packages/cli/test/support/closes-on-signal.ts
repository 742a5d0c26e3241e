import { closeOnSignal } from '../../src/signals.ts'

// `closes-on-signal.ts MODE`: says `closing` when it is asked to end, and then
// ends, fails, or never comes to an end.
const mode = process.argv[2]
closeOnSignal('program', async () => {
  process.stdout.write('closing\n')
  if (mode === 'fails')
    throw Object.assign(new Error('the store is gone'), { code: 'STORE_CLOSED' })
  if (mode === 'never') await new Promise(() => {})
})
setInterval(() => {}, 60_000)
process.stdout.write('{"ready":true}\n')
