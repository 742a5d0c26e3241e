// `npm start`: the entry, which every process of the demo shares its compiled code with.
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

const cacheDir = join(import.meta.dirname, '../../../node_modules/.cache/sallyport')
enableCompileCache(cacheDir)
process.env.NODE_COMPILE_CACHE ??= cacheDir
await import('./demo-program.ts')
