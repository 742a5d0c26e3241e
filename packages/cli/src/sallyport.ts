#!/usr/bin/env node
import { reportError } from './failure.ts'
import { createProgram } from './program.ts'

createProgram()
  .parseAsync()
  .catch((error: unknown) => reportError('sallyport', error))
