import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Store } from '@sallyport/store'

/** A process that writes pairs of rows, one after the other, as fast as it can. */
export class Writer {
  readonly process: ChildProcess
  /** Number of the last row that was acknowledged. */
  last: number
  readonly #ended: Promise<never>
  readonly #waiting: { index: number; resolve(): void }[] = []

  /** @param options of `openStore`, as JSON has them */
  constructor(options: object, start: number) {
    this.last = start - 1
    this.process = spawn(
      process.execPath,
      [join(import.meta.dirname, '../writer.ts'), JSON.stringify(options), `${start}`],
      // When the database is killed, what it says is not of interest.
      { stdio: ['ignore', 'pipe', 'ignore'] },
    )
    this.#ended = once(this.process, 'exit').then(() => assert.fail('the writer has ended'))
    // It is awaited only by whoever waits for rows.
    this.#ended.catch(() => {})
    let text = ''
    this.process.stdout!.on('data', (chunk: Buffer) => {
      text += chunk
      const lines = text.split('\n')
      text = lines.pop()!
      if (lines.length > 0) this.last = Number(lines.at(-1))
      for (const { index, resolve } of this.#waiting) if (this.last >= index) resolve()
    })
  }

  /** Resolves when so many more rows have been acknowledged. */
  async acknowledges(count: number): Promise<void> {
    const index = this.last + count
    await Promise.race([
      new Promise<void>((resolve) => this.#waiting.push({ index, resolve })),
      this.#ended,
    ])
  }

  /** Ends it at once. What it had acknowledged has been read when this resolves. */
  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    const closed = once(this.process, 'close')
    this.process.kill('SIGKILL')
    await closed
  }
}

/**
 * Everything up to `last` is there, and nothing by halves.
 *
 * @returns the first number that is not there
 */
export async function checkPairs({ db }: Store, last: number): Promise<number> {
  const keys = new Set(
    (await db.selectFrom('setting').select('key').execute()).map(({ key }) => key),
  )
  for (let index = 0; index <= last; index += 1)
    assert.ok(keys.has(`left-${index}`) && keys.has(`right-${index}`), `row ${index} is there`)
  const halves = [...keys].filter((key) => {
    const [side, index] = key.split('-')
    return !keys.has(`${side === 'left' ? 'right' : 'left'}-${index}`)
  })
  assert.deepEqual(halves, [])
  // It may have been committed and not have come to be acknowledged.
  return keys.has(`left-${last + 1}`) ? last + 2 : last + 1
}
