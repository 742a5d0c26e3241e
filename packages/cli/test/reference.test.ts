import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { toObjectJsonSchema } from '@sallyport/control/objects'
import { toServiceJsonSchema } from '../src/config.ts'
import { toFields } from '../src/reference/fields.ts'
import { renderReference } from '../src/reference/render.ts'

const folder = join(import.meta.dirname, '../../../docs/reference')

test('the reference is what schemas and commands say now; otherwise: npm run reference', () => {
  const made = renderReference()
  assert.deepEqual(readdirSync(folder).sort(), Object.keys(made).sort())
  for (const [name, text] of Object.entries(made))
    assert.equal(readFileSync(join(folder, name), 'utf8'), text, name)
})

test('the JSON schemas are those that the commands print and the exports carry', () => {
  const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
  assert.deepEqual(read('objects.schema.json'), JSON.parse(JSON.stringify(toObjectJsonSchema())))
  assert.deepEqual(read('service.schema.json'), JSON.parse(JSON.stringify(toServiceJsonSchema())))
})

test('a field without a description has no place in a reference', () => {
  const schema = { properties: { a: { type: 'string' } } }
  assert.throws(() => toFields(schema), TypeError)
})
