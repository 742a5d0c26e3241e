import { closeOnSignal } from '../../src/signals.ts'

// `closes-on-signal.ts MODE`: says `closing` when it is asked to end, and then
// ends, fails, or never comes to an end; or it reloads, which fails the second time.
const mode = process.argv[2]
let reloads = 0
async function reload() {
  reloads += 1
  process.stdout.write(`reloading ${reloads}\n`)
  if (reloads === 2)
    throw Object.assign(new Error('certificates.0: cannot be read'), { code: 'INPUT_INVALID' })
}
async function close() {
  process.stdout.write('closing\n')
  if (mode === 'fails')
    throw Object.assign(new Error('the store is gone'), { code: 'STORE_CLOSED' })
  if (mode === 'never') await new Promise(() => {})
}
closeOnSignal('program', close, mode === 'reloads' ? reload : undefined)
setInterval(() => {}, 60_000)
process.stdout.write('{"ready":true}\n')
