import type { ResponseHead } from '@sallyport/http1'
import { ResetCode } from '@sallyport/protocol'
import { OriginFailure } from './failure.ts'
import { nobody, type Origin } from './origin.ts'

/**
 * Asks an origin for one page, over a connection of its own, and reads no further than the head of its answer.
 *
 * @param target path and query
 * @param makeFields beside `Host`: name, value, name, value ..., for a connection with this binding
 * @param timeoutMs for the connection, and again for the answer
 * @throws OriginFailure, `ORIGIN_TIMEOUT` among others, or the error of the network, of TLS or of the codec
 */
export async function requestHead(
  origin: Origin,
  target: string,
  makeFields: (channelBinding: Buffer | undefined) => Promise<readonly string[]>,
  timeoutMs = 10_000,
): Promise<ResponseHead> {
  const { http, channelBinding } = await origin.open(nobody, AbortSignal.timeout(timeoutMs))
  let timer: NodeJS.Timeout | undefined
  try {
    const fields = await makeFields(channelBinding)
    return await new Promise<ResponseHead>((resolve, reject) => {
      timer = setTimeout(
        () =>
          reject(
            new OriginFailure(ResetCode.ORIGIN_TIMEOUT, `no response head within ${timeoutMs} ms`),
          ),
        timeoutMs,
      )
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
    clearTimeout(timer)
    http.destroy()
  }
}
