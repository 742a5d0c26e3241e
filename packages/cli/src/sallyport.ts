#!/usr/bin/env -S node --no-allocation-site-pretenuring --min-semi-space-size=16 --max-semi-space-size=16
import { reportError } from './failure.ts'
import { createProgram } from './program.ts'

createProgram()
  .parseAsync()
  .catch((error: unknown) => reportError('sallyport', error))
