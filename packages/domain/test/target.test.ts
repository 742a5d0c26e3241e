import assert from 'node:assert/strict'
import test from 'node:test'
import { applicationSchema, compileSnapshot, parseTarget, TargetError } from '../src/index.ts'
import { normalisers } from './normalisers.ts'
import { Random } from './random.ts'

let next = 0
function app(name: string, path: string, internalPath = '/') {
  next += 1
  return {
    application: applicationSchema.parse({
      id: `00000000-0000-4000-8000-${String(next).padStart(12, '0')}`,
      name,
      displayName: name,
      externalUrl: `https://www.example.test${path}`,
      internalUrl: `http://${name}.internal${internalPath}`,
    }),
    principalIds: [],
  }
}

const published = [
  app('root', '/'),
  app('admin', '/admin/'),
  app('deep', '/a/Deep/'),
  app('b', '/b/'),
]
const snapshot = compileSnapshot({
  applications: published,
  baseDomain: 'example.test',
  port: 443,
  version: 1,
})

/** Which application an origin's own configuration would mean, by prefixes alone. */
function ownerOf(path: string): string {
  const folded = `${path.toLowerCase()}/`
  for (const [prefix, name] of [
    ['/a/deep/', 'deep'],
    ['/admin/', 'admin'],
    ['/b/', 'b'],
  ] as const)
    if (folded.startsWith(prefix)) return name
  return 'root'
}

const pieces = [
  'admin',
  'ADMIN',
  'a',
  'Deep',
  'b',
  'x',
  '/',
  '/',
  '/',
  '//',
  '.',
  '..',
  '...',
  ';',
  ';x=1',
  '\\',
  '%2e',
  '%2E',
  '%2f',
  '%5c',
  '%3b',
  '%252e',
  '%252f',
  '%25252e',
  '%61',
  '%41',
  '%c0%ae',
  '%c0%af',
  '%e0%80%ae',
  '%f0%80%80%ae',
  '%ef%bc%8f',
  '%ef%bc%8e',
  '%ef%bd%81',
  '%e2%80%a4',
  '%e2%88%95',
  '%25c0%25ae',
  '%20',
  ' ',
  ':',
  '@',
  '+',
  '%2561',
]

/** Every reading that up to three normalisers in a row give. */
function readings(path: string, depth: number): Map<string, string> {
  const all = new Map([[path, 'as it is']])
  let latest = [...all]
  for (let round = 0; round < depth; round += 1) {
    const found: [string, string][] = []
    for (const [text, how] of latest)
      for (const { name, read } of normalisers) {
        const reading = read(text)
        if (all.has(reading)) continue
        all.set(reading, `${how}, ${name}`)
        found.push([reading, `${how}, ${name}`])
      }
    latest = found
  }
  return all
}

test('no row of servers reads a path as one of another application', () => {
  const random = new Random(20_260_731)
  let accepted = 0
  for (let count = 0; count < 4_000; count += 1) {
    let path = '/'
    for (let length = 1 + random.below(7); length > 0; length -= 1) path += random.one(pieces)
    path = path.replaceAll(' ', '')
    let name: string | undefined
    try {
      name = snapshot.findApplication('www.example.test', parseTarget(path))?.compiled.application
        .name
    } catch (error) {
      assert.ok(error instanceof TargetError, String(error))
      continue
    }
    accepted += 1
    for (const [reading, how] of readings(path, 3))
      assert.equal(ownerOf(reading), name, `${path} is read as ${reading} (${how})`)
  }
  assert.ok(accepted > 500, `only ${accepted} paths were accepted`)
})
