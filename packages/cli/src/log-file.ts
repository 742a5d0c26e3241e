import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'

export interface Rotation {
  /** A file that has so many bytes is put aside; 0: however long it is. */
  maxBytes: number
  /** So old, in milliseconds; 0: however old it is. */
  maxAgeMs: number
  /** How many files are kept beside the one that is written. */
  keep: number
}

export const noRotation: Rotation = { maxBytes: 0, maxAgeMs: 0, keep: 0 }

/** After a failure to rotate, lines go on into the file that is open; so long it is not tried again. */
const retryMs = 60_000
const newline = 10

/**
 * A file of lines that others may rename under us (`reopen`), and that renames itself when it is full or old. It
 * changes files only between two lines, and synchronously: no line is lost, doubled or cut in two.
 */
export class LogFile {
  readonly #path: string
  readonly #rotation: Rotation
  readonly #onError: (error: unknown) => void
  readonly #clock: () => number
  #descriptor: number
  /** Whether it is a file at all: pipes and terminals have no other to go to. */
  #isFile = false
  #size = 0
  #beganAt = 0
  #atLineEnd = true
  #reopenDue = false
  #retryAt = 0

  /**
   * @param path `-` for standard output
   * @param onError hears of a rotation that failed
   * @throws what open(2) says
   */
  constructor(
    path: string,
    rotation: Rotation,
    onError: (error: unknown) => void,
    clock: () => number = Date.now,
  ) {
    this.#path = path
    this.#rotation = rotation
    this.#onError = onError
    this.#clock = clock
    this.#descriptor = path === '-' ? 1 : openSync(path, 'a', 0o600)
    this.#look()
  }

  /** As `fs.writeSync`: how many bytes were written, from `offset` on. Changes files first if it is time. */
  write(bytes: Buffer, offset: number): number {
    if (this.#atLineEnd && this.#isFile) {
      if (this.#reopenDue) this.#reopen()
      if (this.#size === 0) this.#beganAt = this.#clock()
      else if (this.#isDue(bytes.length - offset)) this.#rotate()
    }
    const written = writeSync(this.#descriptor, bytes, offset)
    this.#size += written
    if (written > 0) this.#atLineEnd = bytes[offset + written - 1] === newline
    return written
  }

  /** Somebody has renamed the file: lines from now on go to a new one of its old name. */
  reopen(): void {
    if (!this.#isFile) return
    this.#reopenDue = true
    if (this.#atLineEnd) this.#reopen()
  }

  close(): void {
    if (this.#descriptor !== 1) closeSync(this.#descriptor)
  }

  #isDue(more: number): boolean {
    const { maxBytes, maxAgeMs } = this.#rotation
    if (maxBytes > 0 && this.#size + more > maxBytes) return this.#clock() >= this.#retryAt
    return maxAgeMs > 0 && this.#clock() >= Math.max(this.#beganAt + maxAgeMs, this.#retryAt)
  }

  #rotate(): void {
    try {
      // Whoever moved the file in the meantime has rotated it for us.
      if (this.#isThere()) renameSync(this.#path, this.#nameAside())
      this.#swap()
      this.#removeOldest()
    } catch (error) {
      this.#retryAt = this.#clock() + retryMs
      this.#onError(error)
    }
  }

  #reopen(): void {
    this.#reopenDue = false
    try {
      this.#swap()
    } catch (error) {
      this.#onError(error)
    }
  }

  /** The new file is open before the old one is closed: if that fails, the old one serves on. */
  #swap(): void {
    const next = openSync(this.#path, 'a', 0o600)
    closeSync(this.#descriptor)
    this.#descriptor = next
    this.#look()
  }

  #look(): void {
    const facts = fstatSync(this.#descriptor)
    this.#isFile = this.#path !== '-' && facts.isFile()
    this.#size = facts.size
    // Not every file system knows when a file began; those give the time of its last change, or zero.
    this.#beganAt = facts.birthtimeMs === 0 ? this.#clock() : facts.birthtimeMs
  }

  #isThere(): boolean {
    const ours = fstatSync(this.#descriptor)
    const there = statSync(this.#path, { throwIfNoEntry: false })
    return there !== undefined && there.ino === ours.ino && there.dev === ours.dev
  }

  /** Such as `access.log.20260131T080000.000Z`: in order by name, and no name that logrotate gives. */
  #nameAside(): string {
    for (let at = this.#clock(); ; at++) {
      const name = `${this.#path}.${new Date(at).toISOString().replace(/[-:]/g, '')}`
      if (!statSync(name, { throwIfNoEntry: false })) return name
    }
  }

  #removeOldest(): void {
    const folder = dirname(this.#path)
    const prefix = `${basename(this.#path)}.`
    const aside = readdirSync(folder)
      .filter(
        (name) =>
          name.startsWith(prefix) && /^\d{8}T\d{6}\.\d{3}Z$/.test(name.slice(prefix.length)),
      )
      .sort()
    for (const name of aside.slice(0, Math.max(0, aside.length - this.#rotation.keep)))
      rmSync(join(folder, name), { force: true })
  }
}
