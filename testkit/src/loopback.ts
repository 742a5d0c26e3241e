import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** A loopback address on which none of these TCP ports is in use: for servers whose ports are fixed. */
export async function findFreeLoopback(ports: readonly number[]): Promise<string> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const address = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`
    const free = await Promise.all(ports.map((port) => isFree(address, port)))
    if (free.every(Boolean)) return address
  }
  throw new Error(`no loopback address has the TCP ports ${ports.join(', ')} free`)
}

async function isFree(address: string, port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(false) : reject(error),
    )
    server.listen(port, address, () => server.close(() => resolve(true)))
  })
}
