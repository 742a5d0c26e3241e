import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { findFreePort, type Scope } from '@sallyport/testkit'

/** Serves a PHP application by PHP's own web server, as Debian ships it. @returns its URL */
export async function servePhp(
  scope: Scope,
  root: string,
  env: Record<string, string> = {},
  wanted?: number,
): Promise<{ url: string; port: number }> {
  const port = wanted ?? (await findFreePort())
  const child = spawn('php', ['-S', `127.0.0.1:${port}`, '-t', root], {
    env: { ...process.env, ...env, PHP_CLI_SERVER_WORKERS: '2' },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  })
  scope.after(async () => {
    const gone = once(child, 'exit')
    // Its workers too.
    process.kill(-child.pid!, 'SIGTERM')
    await gone
  })
  child.stderr.setEncoding('utf8')
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`php ended with ${code}: ${said}`)))
    child.stderr.on('data', (text: string) => {
      said += text
      if (/Development Server .* started/.test(said)) resolve()
    })
  })
  return { url: `http://127.0.0.1:${port}/`, port }
}
