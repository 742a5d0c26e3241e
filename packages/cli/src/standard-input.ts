import { isUtf8 } from 'node:buffer'
import { CommandError } from './failure.ts'

const limitBytes = 65_536

/**
 * Reads a secret, which never stands in arguments: every user of the machine can read those. From a terminal
 * it is asked for, without echo; otherwise standard input is read to its end.
 *
 * @param prompt what it is, such as `Password`
 * @returns without the line end that `echo` adds; everything else belongs to the secret
 */
export async function readSecret(prompt: string): Promise<string> {
  return process.stdin.isTTY ? askSecret(prompt) : (await readAll()).replace(/\r?\n$/, '')
}

async function readAll(): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    parts.push(chunk)
    length += chunk.length
    if (length > limitBytes) throw new CommandError('standard input: is too long for a secret')
  }
  const bytes = Buffer.concat(parts)
  if (!isUtf8(bytes)) throw new CommandError('standard input: is not UTF-8')
  return bytes.toString('utf8')
}

/** Reads one line from the terminal, key by key. */
function askSecret(prompt: string): Promise<string> {
  const { stdin, stderr } = process
  // First without echo, then the question: some people type fast.
  stdin.setRawMode(true)
  stderr.write(`${prompt}: `)
  stdin.setEncoding('utf8')
  return new Promise((resolve, reject) => {
    let text = ''
    const finish = (done: () => void) => {
      stdin.off('data', onData)
      stdin.setRawMode(false)
      stdin.pause()
      stderr.write('\n')
      done()
    }
    const onData = (keys: string) => {
      for (const key of keys) {
        if (key === '\r' || key === '\n' || key === '\u0004') return finish(() => resolve(text))
        if (key === '\u0003') return finish(() => reject(new CommandError('nothing was entered')))
        if (key === '\u007f' || key === '\b') text = [...text].slice(0, -1).join('')
        else if (key === '\u0015') text = ''
        else text += key
      }
    }
    stdin.on('data', onData)
  })
}
