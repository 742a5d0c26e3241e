import {
  type Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
} from 'node:http'
import { type Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import {
  type Authorization,
  Kdcs,
  KerberosEngine,
  type KerberosEngineOptions,
  readKeytabFile,
  type TokenFormat,
  type UserName,
} from '@sallyport/kerberos'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import type { IwaApplication } from '@sallyport/testkit/iwa-application'

export const person = (name: string): UserName => ({ type: 'principal', name })
export const upn = (name: string): UserName => ({ type: 'enterprise', name })

/** An engine for an account of the directory, with a keytab made for it unless there is one. */
export async function startEngine(
  directory: ActiveDirectory,
  account: string,
  { keytab, ...options }: Partial<KerberosEngineOptions> & { keytab?: string } = {},
): Promise<KerberosEngine> {
  const file = keytab ?? (await directory.keytab(account))
  return new KerberosEngine({
    account: `${account}@${directory.realm}`,
    keytabFile: file,
    readKeytab: () => readKeytabFile(file),
    kdcs: new Kdcs({ realms: { [directory.realm]: [directory.kdc] } }),
    ...options,
  })
}

export const authorize = (
  engine: KerberosEngine,
  user: UserName,
  spn: string,
  format: TokenFormat = 'spnego',
): Promise<Authorization> => engine.authorize({ user, spn, format })

export interface IwaAnswer {
  status: number
  /** Whom the application served. */
  user: string
  reply: Buffer | undefined
  headers: IncomingHttpHeaders
}

export interface IwaRequest {
  host: string
  path?: string
  tls?: boolean
  token?: Buffer
  agent?: HttpAgent | HttpsAgent
}

/** One request to an application, on a connection of its own unless an agent is given. */
export function ask(
  application: IwaApplication,
  { host, path = '/', tls = false, token, agent }: IwaRequest,
): Promise<IwaAnswer> {
  const authorization = token && { authorization: `Negotiate ${token.toString('base64')}` }
  const options = {
    host: '127.0.0.1',
    port: tls ? application.httpsPort : application.httpPort,
    path,
    headers: { host, ...authorization },
    servername: host,
    ca: application.certificate,
    agent: agent ?? false,
  }
  return new Promise((resolve, reject) => {
    const request = (tls ? httpsRequest : httpRequest)(options, (response) => {
      response.resume()
      response.once('error', reject)
      response.once('end', () => {
        const challenge = /^Negotiate (\S+)/.exec(String(response.headers['www-authenticate']))
        // Apache writes UTF-8, and Node reads header bytes as latin1.
        const user = String(response.headers['x-remote-user'] ?? '')
        resolve({
          status: response.statusCode!,
          user: Buffer.from(user, 'latin1').toString('utf8'),
          reply: challenge ? Buffer.from(challenge[1]!, 'base64') : undefined,
          headers: response.headers,
        })
      })
    })
    request.once('error', reject)
    request.end()
  })
}
