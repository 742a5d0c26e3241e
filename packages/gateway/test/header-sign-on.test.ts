import assert from 'node:assert/strict'
import { test } from 'node:test'
import { applicationSchema, type Claims, compileSnapshot, type Session } from '@sallyport/domain'
import { HeaderSignOn } from '../src/header-sign-on.ts'

function compiledWith(name: string) {
  const application = applicationSchema.parse({
    id: '7b0f53a1-54d0-4f6a-9a3e-0f6f6c3a2b01',
    name: 'hr',
    displayName: 'HR',
    externalUrl: 'https://hr.example.test/',
    internalUrl: 'http://hr.internal/',
    signOn: { method: 'headers', headers: [{ name, claim: 'groups' }] },
  })
  return compileSnapshot({
    applications: [{ application, principalIds: [] }],
    baseDomain: 'example.test',
    port: 443,
    version: 1,
  }).findApplicationById(application.id)!
}

test('attack 22: headers of somebody with too many groups are tried once for a session, not for each request', () => {
  let reads = 0
  const claims: Claims = {
    objectId: 'ana',
    userName: 'ana',
    displayName: 'Ana',
    mail: undefined,
    get groups() {
      reads += 1
      return Array.from({ length: 2_000 }, (_, index) => ({
        id: `${index}`,
        name: `Group of many ${index}`,
      }))
    },
  }
  const session = { claims } as unknown as Session
  const headerSignOn = new HeaderSignOn()
  const tooLarge = { code: 'SIGN_ON_HEADERS_TOO_LARGE' }
  const compiled = compiledWith('X-Groups')
  for (let request = 0; request < 3; request += 1)
    assert.throws(() => headerSignOn.lines(compiled, session), tooLarge)
  assert.equal(reads, 1)
  // Another configuration may be another matter.
  assert.throws(() => headerSignOn.lines(compiledWith('X-Others'), session), tooLarge)
  assert.equal(reads, 2)
})
