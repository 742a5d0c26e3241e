import { type Snapshot, toExternalUrl } from '@sallyport/domain'
import { findOidcApplicationById } from './client.ts'

/** Sends a POST to an application, through a connector of its group. The gateway implements it. */
export type Delivery = (request: DeliveryRequest) => Promise<number>

export interface DeliveryRequest {
  /** The application has to answer for the URL; nobody else gets the request. */
  applicationId: string
  /** As people would open it. */
  url: string
  body: string
  /** `application/x-www-form-urlencoded` unless it is another one. */
  contentType?: string
  /** Until the answer begins. */
  timeoutMs: number
}

const timeoutMs = 10_000

/**
 * Brings a logout token to the application that it is for. What the application answers beyond its status is of no interest.
 *
 * @throws whatever the delivery rejects with
 */
export async function deliverLogout(
  { snapshot, deliver }: { snapshot(): Snapshot; deliver: Delivery },
  applicationId: string,
  body: string,
): Promise<Response> {
  const compiled = findOidcApplicationById(snapshot(), applicationId)
  const uri = compiled?.application.signOn.backChannelLogoutUri
  if (!compiled || uri === undefined)
    throw new Error(`the application ${applicationId} has no back-channel logout any more`)
  const url = toExternalUrl(compiled, uri)
  const status = await deliver({ applicationId, url, body, timeoutMs })
  return new Response(null, { status })
}
