import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** What a connection hears of its socket. None of it throws. */
export interface SocketListener {
  onData(chunk: Buffer): void
  onEnd(): void
  onDrain(): void
  onFinish?(): void
  onSocketError(error: Error): void
  onSocketClose(): void
}

// The listeners are shared by all connections, which are found through the socket: no closures for each.
const listenerOf = Symbol('http1.listener')
interface Attached extends Duplex {
  [listenerOf]: SocketListener
}

/** Makes a connection hear of its socket from now on, also when the socket has been closed before. */
export function attach(socket: Duplex, listener: SocketListener): void {
  ;(socket as Attached)[listenerOf] = listener
  socket.on('data', onData)
  socket.on('end', onEnd)
  socket.on('drain', onDrain)
  if (listener.onFinish) socket.on('finish', onFinish)
  socket.on('error', onError)
  socket.on('close', onClose)
  // Parts of one message are often written one by one; Nagle would keep the last back for 40 ms.
  if (socket instanceof Socket) socket.setNoDelay(true)
  // An event that came before would be waited for in vain.
  if (socket.closed) process.nextTick(() => listener.onSocketClose())
}

function onData(this: Duplex, chunk: Buffer): void {
  ;(this as Attached)[listenerOf].onData(chunk)
}
function onEnd(this: Duplex): void {
  ;(this as Attached)[listenerOf].onEnd()
}
function onDrain(this: Duplex): void {
  ;(this as Attached)[listenerOf].onDrain()
}
function onFinish(this: Duplex): void {
  ;(this as Attached)[listenerOf].onFinish!()
}
function onError(this: Duplex, error: Error): void {
  ;(this as Attached)[listenerOf].onSocketError(error)
}
function onClose(this: Duplex): void {
  ;(this as Attached)[listenerOf].onSocketClose()
}
