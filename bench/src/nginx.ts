import { mkdir, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { type Started, startServer } from './processes.ts'

/**
 * Starts an nginx that keeps everything it writes in `folder`.
 *
 * @param options.http the contents of its `http` block
 * @param options.port one that it listens on
 */
export async function startNginx(options: {
  folder: string
  port: number
  workers: number | 'auto'
  http: string
}): Promise<Started> {
  const { folder, port, workers, http } = options
  await mkdir(folder, { recursive: true })
  const file = join(folder, 'nginx.conf')
  // Its workers would drop to an account that cannot read the temporary folder.
  const user = process.getuid?.() === 0 ? `user ${userInfo().username};` : ''
  await writeFile(
    file,
    `${user}
daemon off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log warn;
worker_processes ${workers};
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  default_type application/octet-stream;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
${http}
}
`,
  )
  return startServer('nginx', ['-e', join(folder, 'error.log'), '-p', folder, '-c', file], port)
}
