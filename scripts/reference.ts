// Writes the pages of docs/reference/ that are made from schemas and commands.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { renderReference } from '../packages/cli/src/reference/render.ts'

const folder = join(import.meta.dirname, '../docs/reference')
mkdirSync(folder, { recursive: true })
for (const [name, text] of Object.entries(renderReference()))
  writeFileSync(join(folder, name), text)
