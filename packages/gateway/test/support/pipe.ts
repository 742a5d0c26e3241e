import type { Relayed, TestConnector } from './connector.ts'
import { request, type TestGateway } from './gateway.ts'
import type { Wire } from './wire.ts'

export const upgrade = {
  Connection: 'keep-alive, Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
}

/** A WebSocket whose handshake is done. */
export async function openPipe(
  system: TestGateway,
  connector: TestConnector,
  host: string,
  fields: Record<string, string> = {},
): Promise<{ wire: Wire; relayed: Relayed }> {
  const index = connector.streams.length
  const wire = system.connect()
  wire.send(request('/socket?x=1', host, { ...upgrade, ...fields }))
  const relayed = await connector.stream(index)
  relayed.stream.sendHead(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket',
  )
  await wire.take('\r\n\r\n')
  return { wire, relayed }
}
