// The origin that both sides stand in front of: nginx, and for uploads a sink that reads them.
import { open, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { startNginx } from './nginx.ts'
import { findFreePorts } from './processes.ts'

export const TRANSFER_BYTES = 1_000_000_000

export interface Origin {
  url: string
  port: number
  /** How many requests have reached it so far. */
  countRequests(): Promise<number>
  /** A file of 1 GB to upload. */
  uploadFile: string
  close(): Promise<void>
}

/** `/120` and `/16k` answer so many bytes, `/download` 1 GB; `/upload` answers how many came. */
export async function startOrigin(folder: string): Promise<Origin> {
  const [port] = (await findFreePorts(1)) as [number]
  const sink = await startSink()
  await writeFile(join(folder, '120'), 'x'.repeat(120))
  await writeFile(join(folder, '16k'), 'x'.repeat(16_384))
  const download = join(folder, 'download')
  const file = await open(download, 'w')
  await file.truncate(TRANSFER_BYTES)
  await file.close()
  const nginx = await startNginx({
    folder: join(folder, 'origin'),
    port,
    workers: 1,
    http: `
  access_log off;
  open_file_cache max=10;
  upstream sink { server 127.0.0.1:${sink.port}; keepalive 8; }
  server {
    listen 127.0.0.1:${port} reuseport backlog=4096;
    root ${folder};
    location = /120 {}
    location = /16k {}
    location = /download {}
    location = /upload {
      proxy_pass http://sink;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }
    location = /status { stub_status; }
    location / { return 404; }
  }`,
  })
  const url = `http://127.0.0.1:${port}`
  return {
    url,
    port,
    uploadFile: download,
    countRequests: async () => {
      const text = await (await fetch(`${url}/status`)).text()
      return Number(/^ \d+ \d+ (\d+)/m.exec(text)![1])
    },
    close: async () => {
      await nginx.close()
      await sink.close()
    },
  }
}

async function startSink(): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer({ requestTimeout: 0 }, (req, res) => {
    let bytes = 0
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    req.on('end', () => res.end(String(bytes)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
