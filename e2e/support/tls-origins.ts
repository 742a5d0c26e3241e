import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Apache, findFreePort, type Scope } from '@sallyport/testkit'

const host = 'app.internal'

/** A certificate with its key, as files in PEM. */
export interface CertificateFiles {
  certificateFile: string
  keyFile: string
}

/** Certificates of a test, made by openssl. */
export class TestCertificates {
  readonly dir: string

  constructor(scope: Scope) {
    this.dir = mkdtempSync(join(tmpdir(), 'sallyport-tls-'))
    // Workers of servers are other users.
    chmodSync(this.dir, 0o755)
    scope.after(() => rmSync(this.dir, { recursive: true, force: true }))
  }

  /** Its own authority. */
  selfSigned(name: string, subject: string, more: readonly string[] = []): CertificateFiles {
    const files = this.#files(name)
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    const output = ['-keyout', files.keyFile, '-out', files.certificateFile]
    this.#openssl([
      'req',
      '-x509',
      ...key,
      '-subj',
      `/CN=${subject}`,
      '-days',
      '30',
      ...more,
      ...output,
    ])
    return files
  }

  /** Of a client, by an authority; over the files that are there under that name. */
  issue(authority: CertificateFiles, name: string, subject: string): CertificateFiles {
    const files = this.#files(name)
    const csr = join(this.dir, `${name}.csr`)
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    this.#openssl([
      'req',
      '-new',
      ...key,
      '-subj',
      `/CN=${subject}`,
      '-keyout',
      files.keyFile,
      '-out',
      csr,
    ])
    const signer = ['-CA', authority.certificateFile, '-CAkey', authority.keyFile]
    this.#openssl([
      'x509',
      '-req',
      '-in',
      csr,
      ...signer,
      '-days',
      '30',
      '-out',
      files.certificateFile,
    ])
    return files
  }

  #files(name: string): CertificateFiles {
    return {
      certificateFile: join(this.dir, `${name}.pem`),
      keyFile: join(this.dir, `${name}.key`),
    }
  }

  #openssl(args: readonly string[]): void {
    execFileSync('openssl', args, { stdio: 'ignore' })
  }
}

/** Servers that ask their clients for a certificate; what they answer says whom they saw. */
export interface TlsOrigins {
  host: string
  /** PEM. */
  authority: string
  /** Apache: no request without a certificate. */
  requirePort: number
  /** Apache: no request below `/private/` without one. */
  pathsPort: number
  /** nginx: no request without one; below `/ws` another server's WebSocket. */
  nginxPort: number
}

/**
 * @param clients authority of the certificates that they accept
 * @param webSocketPort of a plain server on loopback
 */
export async function startTlsOrigins(
  scope: Scope,
  certificates: TestCertificates,
  clients: CertificateFiles,
  webSocketPort: number,
): Promise<TlsOrigins> {
  const server = certificates.selfSigned('server', host, ['-addext', `subjectAltName=DNS:${host}`])
  const dir = certificates.dir
  const [requirePort, pathsPort, nginxPort] = [
    await findFreePort(),
    await findFreePort(),
    await findFreePort(),
  ]
  const apache = Apache.create(scope, 'tls-origin')
  const htdocs = join(apache.dir, 'htdocs')
  mkdirSync(join(htdocs, 'private'), { recursive: true })
  writeFileSync(join(htdocs, 'index.txt'), 'public\n')
  writeFileSync(join(htdocs, 'private/index.txt'), 'private\n')
  apache.configure({
    modules: ['mime', 'dir', 'headers', 'socache_shmcb', 'ssl'],
    lines: `ServerName ${host}
Listen 127.0.0.1:${requirePort}
Listen 127.0.0.1:${pathsPort}
AddType text/plain .txt
KeepAliveTimeout 60
DocumentRoot ${htdocs}
DirectoryIndex index.txt
SSLEngine on
SSLCertificateFile ${server.certificateFile}
SSLCertificateKeyFile ${server.keyFile}
SSLCACertificateFile ${clients.certificateFile}
Header always set X-Client "expr=%{SSL_CLIENT_S_DN_CN} by %{SSL_PROTOCOL}"
<VirtualHost 127.0.0.1:${requirePort}>
SSLEngine on
SSLVerifyClient require
</VirtualHost>
<VirtualHost 127.0.0.1:${pathsPort}>
SSLEngine on
<Location /private/>
SSLVerifyClient require
</Location>
</VirtualHost>`,
  })
  writeFileSync(
    join(dir, 'nginx.conf'),
    `daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log ${dir}/nginx.log notice;
events {}
http {
access_log off;
client_body_temp_path ${dir}/body;
proxy_temp_path ${dir}/proxy;
fastcgi_temp_path ${dir}/fastcgi;
uwsgi_temp_path ${dir}/uwsgi;
scgi_temp_path ${dir}/scgi;
server {
listen 127.0.0.1:${nginxPort} ssl;
ssl_certificate ${server.certificateFile};
ssl_certificate_key ${server.keyFile};
ssl_client_certificate ${clients.certificateFile};
ssl_verify_client on;
ssl_protocols TLSv1.2 TLSv1.3;
location / { add_header X-Client "$ssl_client_s_dn by $ssl_protocol"; return 200 "nginx\\n"; }
location /ws {
proxy_pass http://127.0.0.1:${webSocketPort};
proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection "upgrade";
proxy_set_header X-Client "$ssl_client_s_dn";
}
}
}
`,
  )
  await apache.run()
  await run(scope, '/usr/sbin/nginx', ['-p', dir, '-c', join(dir, 'nginx.conf')], {
    log: join(dir, 'nginx.log'),
    says: 'using the "epoll" event method',
  })
  return {
    host,
    authority: readFileSync(server.certificateFile, 'utf8'),
    requirePort,
    pathsPort,
    nginxPort,
  }
}

/** Starts a server that ends with the test, and waits until its log says that it listens. */
async function run(
  scope: Scope,
  program: string,
  args: readonly string[],
  { log, says }: { log: string; says: string },
): Promise<void> {
  const child = spawn('setpriv', ['--pdeathsig=TERM', program, ...args], { stdio: 'ignore' })
  scope.after(() => end(child))
  const text = () => {
    try {
      return readFileSync(log, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
      throw error
    }
  }
  while (!text().includes(says)) {
    if (child.exitCode !== null) throw new Error(`${program} ended: ${text()}`)
    await setTimeout(20)
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}
