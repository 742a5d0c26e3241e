import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { type StreamHandler, TunnelSession, type TunnelStream } from '@sallyport/protocol'
import type { Scope, System } from '@sallyport/testkit'

/** A connector that enrolled in good order, and then says what it likes. */
export interface HostileConnector {
  /** Called with the stream when the head of its request has come. */
  onStream: (stream: TunnelStream, head: string) => void
  readonly session: TunnelSession
  /** Another tunnel, when the one before was closed for what it carried. */
  dial(): Promise<void>
}

const ignore = (): void => {}

/** Serves the application `hostile`, open to everybody, from a connector group of its own. */
export async function startHostileConnector(
  scope: Scope,
  system: System,
  name = 'hostile',
): Promise<HostileConnector> {
  await system.execute('connector-group.create', { name })
  await system.execute('app.create', {
    name,
    displayName: name,
    externalUrl: system.url(name),
    internalUrl: 'http://127.0.0.1:1/',
    connectorGroup: name,
    preAuthentication: 'passthrough',
  })
  const enrolled = await system.startConnector({ name, allow: [], connectorGroup: name })
  await enrolled.close()
  while (system.service.gateway.tunnels.pick(name)) await tick()
  let session: TunnelSession | undefined
  const connector: HostileConnector = {
    onStream: (stream) => stream.sendHead('HTTP/1.1 204 No Content', true),
    get session() {
      return session!
    },
    async dial() {
      session?.close()
      while (system.service.gateway.tunnels.pick(name)) await tick()
      const socket = await dialAs(system, name)
      session = new TunnelSession(socket, {
        side: 'connector',
        onStream: (stream) => {
          const handler: StreamHandler = {
            onHead: (head) => connector.onStream(stream, head),
            onData: ignore,
            onEnd: ignore,
            onWritable: ignore,
            onReset: ignore,
          }
          stream.handler = handler
        },
        onClose: ignore,
      })
      await system.tunnelsUp(name)
    },
  }
  await connector.dial()
  scope.after(() => session?.close())
  return connector
}

/** A TLS connection for a tunnel, by the key of an enrolled connector. */
export function dialAs(system: System, name: string): Promise<TLSSocket> {
  const file = (suffix: string) =>
    readFileSync(join(system.dir, name, `connector.${suffix}`), 'utf8')
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port: system.port,
      servername: system.host('connect'),
      ALPNProtocols: ['sallyport-tunnel/1'],
      ca: system.service.control.connectorCa.certificatePem,
      key: file('key'),
      cert: file('pem'),
    })
    socket.once('secureConnect', () => resolve(socket))
    socket.once('error', reject)
  })
}

const tick = () => new Promise((resolve) => setImmediate(resolve))
