/** Where a PostgreSQL is, and how it is spoken to. */
export interface PostgresServer {
  /** Name, IP address, or the folder of its Unix socket. */
  host: string
  port: number
  database: string
  user: string
  /** Asked at each connection, so that a changed password needs no restart. */
  password?: (() => Promise<string>) | undefined
  /** False: unencrypted. Otherwise the certificate is verified, by this authority (PEM) or the well-known ones. */
  tls: false | { ca?: string | undefined }
}

/** What errors call it; never with a password. */
export function describeServer(server: Pick<PostgresServer, 'host' | 'port' | 'database'>): string {
  const { host, port, database } = server
  const where = host.startsWith('/') ? `${host}/.s.PGSQL.${port}` : `${host}:${port}`
  return `database ${database} on ${where}`
}
