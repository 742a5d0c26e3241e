import { z } from 'zod'

/** Entra's two values, in milliseconds. */
const named: Readonly<Record<string, number>> = { default: 85_000, long: 180_000 }

const longestMs = 86_400_000

export const timeoutSchema = z
  .string()
  .regex(/^(?:default|long|[1-9][0-9]{0,7}(?:ms|s))$/, {
    error: 'must be default (85 s), long (180 s), or a time such as 20s or 1500ms',
  })
  .refine((text) => fromTimeout(text) <= longestMs, { error: 'must be at most 86400s' })
  .default('default')
  .describe(
    'How long the origin may take to begin its answer: default (85 s), long (180 s), or a time such as 20s or 1500ms.',
  )

/** @returns milliseconds */
export function fromTimeout(text: string): number {
  const ms = named[text]
  if (ms !== undefined) return ms
  return text.endsWith('ms') ? Number(text.slice(0, -2)) : Number(text.slice(0, -1)) * 1_000
}

export function toTimeout(ms: number): string {
  const found = Object.entries(named).find(([, value]) => value === ms)
  if (found) return found[0]
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`
}
