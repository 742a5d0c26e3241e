import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

const folder = join(import.meta.dirname, '..')
const guide = readFileSync(join(folder, '../../docs/headers.md'), 'utf8')

for (const [language, file] of [
  ['js', 'express/app.mjs'],
  ['python', 'fastapi/app.py'],
  ['go', 'go/main.go'],
] as const)
  test(`the guide shows ${file} as it is`, () => {
    const shown = guide.split(`\`\`\`${language}\n`)[1]?.split('```')[0]
    assert.equal(shown, readFileSync(join(folder, file), 'utf8'))
  })
