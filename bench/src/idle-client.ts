// A process that holds idle WebSockets. Told over IPC how many to hold; answers when it does.
import { readFileSync } from 'node:fs'
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Target } from './load.ts'

// Enough to be quick, few enough that no listen queue overflows.
const AT_ONCE = 50

const [path, json] = process.argv.slice(2) as [string, string]
const target: Target = JSON.parse(json)
const { protocol, hostname, port, host } = new URL(target.url)
const ca = target.caFile === undefined ? undefined : readFileSync(target.caFile)
const head = [
  `GET ${path} HTTP/1.1`,
  `Host: ${target.host ?? host}`,
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ...(target.cookie === undefined ? [] : [`Cookie: ${target.cookie}`]),
]
let open = 0

process.on('message', async (wanted: number) => {
  let begun = open
  const work = async () => {
    while (begun < wanted) {
      begun += 1
      await openOne()
      open += 1
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  process.send!(open)
})
// The bench has ended, or died.
process.on('disconnect', () => process.exit())

function openOne(): Promise<void> {
  return new Promise((resolve) => {
    const address = { host: '127.0.0.1', port: Number(port) }
    const socket: Socket =
      protocol === 'https:'
        ? connectTls({ ...address, servername: hostname, ...(ca ? { ca } : {}) })
        : connectPlain(address)
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      if (!answer.includes('\r\n\r\n')) return
      if (!answer.startsWith('HTTP/1.1 101')) give(`answered ${answer.slice(0, 200)}`)
      else resolve()
    })
    socket.once('error', (error) => give(error.message))
    socket.once('close', () => give('closed'))
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
  })
}

// One socket lost is one too many: the memory of the others would be divided wrongly.
function give(reason: string): never {
  console.error(`WebSocket ${open + 1}: ${reason}`)
  process.exit(1)
}
