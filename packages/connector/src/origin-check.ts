import type { ResponseHead } from '@sallyport/http1'
import { nobody, type Origin } from './origin.ts'

const timeoutMs = 10_000

/**
 * Asks an origin for one page, over a connection of its own, and reads no further than the head of its answer.
 *
 * @param target path and query
 * @param makeFields beside `Host`: name, value, name, value ..., for a connection with this binding
 * @throws OriginFailure, or the error of the network, of TLS or of the codec
 */
export async function requestHead(
  origin: Origin,
  target: string,
  makeFields: (channelBinding: Buffer | undefined) => Promise<readonly string[]>,
): Promise<ResponseHead> {
  const { http, channelBinding } = await origin.open(nobody, AbortSignal.timeout(timeoutMs))
  try {
    const fields = await makeFields(channelBinding)
    return await new Promise<ResponseHead>((resolve, reject) => {
      const all = ['Host', new URL(origin.destination.url).host, ...fields]
      http.request(
        { method: 'GET', target, versionMinor: 1, fields: all },
        { kind: 'none' },
        {
          onInformational: () => undefined,
          onHead: resolve,
          onData: () => undefined,
          onEnd: () => undefined,
          onError: reject,
        },
      )
    })
  } finally {
    http.destroy()
  }
}
