import { z } from 'zod'

/** The name of a file, relative to the file that holds it. */
export const file = z
  .string()
  .min(1)
  .regex(/^[^\0]*$/, { error: 'must not hold a NUL' })
