import type { Connector } from '@sallyport/connector'
import type { Answer, Client, System } from '@sallyport/testkit'

/** Resolves when the service knows the connector's key. */
export async function announced(connector: Connector): Promise<void> {
  while (!connector.status().sealingKey.announced)
    await new Promise((resolve) => setImmediate(resolve))
}

/** As an administrator does who has compared the fingerprints. */
export async function trustKey(system: System, connector: Connector): Promise<void> {
  await announced(connector)
  const { connectorId, sealingKey } = connector.status()
  await system.execute('connector.trust-key', {
    connector: connectorId,
    fingerprint: sealingKey.fingerprint,
  })
}

/** Fills in the form of "Your passwords", without script. */
export async function enterPassword(
  client: Client,
  system: System,
  application: string,
  userName: string,
  password: string,
): Promise<Answer> {
  const url = `https://login.${system.domain}:${system.port}/passwords`
  return client.fetch(url, {
    method: 'POST',
    follow: true,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      origin: new URL(url).origin,
      accept: 'text/html',
      'sec-fetch-site': 'same-origin',
      'sec-fetch-mode': 'navigate',
    },
    body: new URLSearchParams({ application, userName, password, action: 'keep' }).toString(),
  })
}
