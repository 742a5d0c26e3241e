import { execFile } from 'node:child_process'
import type { Logger } from 'pino'

/**
 * Says to systemd that whoever waited for this program can go on, such as `systemctl start`. Does nothing where
 * nobody asked for it by `NOTIFY_SOCKET` (sd_notify(3)). By systemd's own program: it is a datagram on a Unix socket,
 * which Node cannot send.
 */
export function tellReady(log: Logger): void {
  if (process.env.NOTIFY_SOCKET === undefined) return
  execFile('systemd-notify', ['--ready'], (error) => {
    if (error) log.error({ err: error }, 'systemd was not told that everything is ready')
  })
}
