// What an administrator does by hand: nginx at the edge, `ssh -R` from inside.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeCertificate } from './certificate.ts'
import { startNginx } from './nginx.ts'
import { findFreePorts, type Started, settledProcesses, startServer } from './processes.ts'
import type { Side } from './side.ts'

const run = promisify(execFile)
const HOST = 'app.peer.localhost'

/**
 * Starts nginx, sshd and ssh with keys of their own, all of it in `folder`.
 *
 * Set up to be as fast as each of them gets: connections to the tunnel are kept, nothing is buffered
 * on disk, the access log is written in blocks, and ssh uses AES-GCM, which the processor does in
 * hardware, in place of its default ChaCha20.
 *
 * @param options.noDelay asks for a terminal that nobody uses, which is how ssh is made to send small
 *   packets at once (TCP_NODELAY); without one it waits for acknowledgements, 40 ms at times
 */
export async function startNginxSsh(options: {
  folder: string
  originPort: number
  noDelay?: boolean
}): Promise<Side> {
  const { folder, originPort, noDelay = false } = options
  const [plainPort, tlsPort, sshPort, tunnelPort] = (await findFreePorts(4)) as [
    number,
    number,
    number,
    number,
  ]
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const closers: Started[] = []
  const close = async () => {
    for (const part of closers.reverse()) await part.close()
  }
  try {
    const tls = await makeCertificate(folder, HOST)
    const sshd = await startSshd(folder, sshPort)
    closers.push(sshd)
    const ssh = await startSsh(folder, { sshPort, tunnelPort, originPort, noDelay })
    closers.push(ssh)
    const accessLog = join(folder, 'access.log')
    const nginx = await startNginx({
      folder: join(folder, 'edge'),
      port: tlsPort,
      workers: EDGE_WORKERS,
      http: edge({ ...tls, accessLog, plainPort, tlsPort, tunnelPort }),
    })
    closers.push(nginx)
    return {
      tls: { url: `https://${HOST}:${tlsPort}`, caFile: tls.certificate },
      plain: { url: `http://${HOST}:${plainPort}` },
      pids: await settledProcesses([nginx.pid, sshd.pid, ssh.pid]),
      accessLog,
      readRecord: (line) => ({ id: undefined, isServed: line.includes('" 200 ') }),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

// Of `1` and `auto` what nginx is faster with, by up to 40 % for small answers on two cores.
const EDGE_WORKERS = 'auto'

function edge(facts: {
  certificate: string
  key: string
  accessLog: string
  plainPort: number
  tlsPort: number
  tunnelPort: number
}): string {
  return `
  access_log ${facts.accessLog} combined buffer=64k flush=200ms;
  upstream tunnel {
    server 127.0.0.1:${facts.tunnelPort};
    keepalive 128;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${facts.plainPort} backlog=4096;
    listen 127.0.0.1:${facts.tlsPort} ssl backlog=4096;
    server_name ${HOST};
    ssl_certificate ${facts.certificate};
    ssl_certificate_key ${facts.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:1m;
    location / {
      proxy_pass http://tunnel;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      proxy_buffers 16 32k;
      proxy_buffer_size 32k;
      proxy_busy_buffers_size 64k;
    }
  }`
}

async function startSshd(folder: string, port: number): Promise<Started> {
  for (const name of ['host', 'user']) {
    const file = join(folder, `${name}_key`)
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file])
  }
  const config = join(folder, 'sshd_config')
  await writeFile(
    config,
    `ListenAddress 127.0.0.1
Port ${port}
HostKey ${folder}/host_key
AuthorizedKeysFile ${folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding remote
LogLevel ERROR
`,
  )
  const sshd = ['/usr/sbin/sshd', '-D', '-e', '-f', config]
  // As root it insists on this folder, which Debian makes when the service starts. It gets one in
  // a mount namespace of its own, and the machine stays as it was.
  if (process.getuid?.() !== 0 || existsSync('/run/sshd')) {
    return startServer(sshd[0]!, sshd.slice(1), port)
  }
  const script = 'mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec "$@"'
  return startServer('unshare', ['--mount', 'sh', '-c', script, 'sh', ...sshd], port)
}

async function startSsh(
  folder: string,
  ports: { sshPort: number; tunnelPort: number; originPort: number; noDelay: boolean },
): Promise<Started> {
  const knownHosts = join(folder, 'known_hosts')
  const { stdout } = await run('ssh-keygen', ['-y', '-f', join(folder, 'host_key')])
  await writeFile(knownHosts, `[127.0.0.1]:${ports.sshPort} ${stdout}`)
  const options = [
    'BatchMode=yes',
    'ExitOnForwardFailure=yes',
    `UserKnownHostsFile=${knownHosts}`,
    'StrictHostKeyChecking=yes',
    'IdentitiesOnly=yes',
    'Ciphers=aes128-gcm@openssh.com',
    'Compression=no',
  ].flatMap((option) => ['-o', option])
  const forward = `127.0.0.1:${ports.tunnelPort}:127.0.0.1:${ports.originPort}`
  return startServer(
    'ssh',
    [
      ...['-F', 'none', ports.noDelay ? '-tt' : '-N', '-R', forward, '-p', String(ports.sshPort)],
      ...['-i', join(folder, 'user_key'), ...options],
      `${userInfo().username}@127.0.0.1`,
      ...(ports.noDelay ? ['exec sleep infinity'] : []),
    ],
    ports.tunnelPort,
  )
}
