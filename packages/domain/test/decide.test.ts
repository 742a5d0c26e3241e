import assert from 'node:assert/strict'
import test from 'node:test'
import {
  type ApplicationInput,
  applicationSchema,
  type CompiledApplication,
  compileSnapshot,
  decide,
  type Session,
} from '../src/index.ts'

const nowAt = 1_800_000_000_000
const id = '00000000-0000-4000-8000-000000000001'

function compiled(more: Partial<ApplicationInput>, principalIds: string[]): CompiledApplication {
  const application = applicationSchema.parse({
    id,
    name: 'hr',
    displayName: 'HR',
    externalUrl: 'https://hr.example.test/',
    internalUrl: 'http://hr.internal/',
    ...more,
  })
  return compileSnapshot({
    applications: [{ application, principalIds }],
    baseDomain: 'example.test',
    port: 443,
    version: 1,
  }).findApplicationById(id)!
}

function sessionOf(more: Partial<Session> = {}): Session {
  return {
    sessionId: 's',
    userId: 'ana',
    signInEpoch: 0,
    methods: ['pwd'],
    signedInAt: nowAt - 1_000,
    expiresAt: nowAt + 1_000,
    absoluteExpiresAt: nowAt + 2_000,
    claims: { objectId: 'ana', userName: 'ana', displayName: 'Ana', mail: undefined, groups: [] },
    principalIds: ['ana', 'staff'],
    ...more,
  }
}

const signals = {
  nowAt,
  sessionReason: 'session-missing',
  deliversLogout: false,
  feedIsSilent: false,
} as const

/** The whole table: application, session, what becomes of it. */
const cases: [string, CompiledApplication | undefined, Session | undefined, string][] = [
  ['no application', undefined, sessionOf(), 'deny application-not-found'],
  ['no session', compiled({}, ['ana']), undefined, 'sign-in session-missing'],
  ['an assigned user', compiled({}, ['ana']), sessionOf(), 'allow'],
  ['a member of an assigned group', compiled({}, ['staff']), sessionOf(), 'allow'],
  ['somebody else', compiled({}, ['bob']), sessionOf(), 'deny user-not-assigned'],
  ['nobody assigned', compiled({}, []), sessionOf(), 'deny user-not-assigned'],
  [
    'nobody assigned, no assignment required',
    compiled({ assignmentRequired: false }, []),
    sessionOf(),
    'allow',
  ],
  [
    'no session, no assignment required',
    compiled({ assignmentRequired: false }, []),
    undefined,
    'sign-in session-missing',
  ],
  [
    'an expired cookie',
    compiled({}, ['ana']),
    sessionOf({ expiresAt: nowAt }),
    'sign-in session-expired',
  ],
  [
    'a session past its absolute limit',
    compiled({}, ['ana']),
    sessionOf({ absoluteExpiresAt: nowAt }),
    'sign-in session-expired',
  ],
  [
    'an expired session of somebody else',
    compiled({}, ['bob']),
    sessionOf({ expiresAt: nowAt - 1 }),
    'sign-in session-expired',
  ],
  ['passthrough', compiled({ preAuthentication: 'passthrough' }, []), undefined, 'allow'],
]

for (const [name, application, session, expected] of cases)
  test(`${name}: ${expected}`, () => {
    const decision = decide(application, session, signals)
    const reason = decision.kind === 'allow' ? '' : ` ${decision.reason}`
    assert.equal(`${decision.kind}${reason}`, expected)
  })

test('a session that is missing for a reason is missing for that reason', () => {
  for (const sessionReason of ['session-invalid', 'session-expired', 'session-ended'] as const) {
    const decision = decide(compiled({}, ['ana']), undefined, {
      ...signals,
      sessionReason,
    })
    assert.equal(decision.kind === 'sign-in' && decision.reason, sessionReason)
  }
})

test('while nobody says whose access has ended only passthrough goes on', () => {
  const silent = { ...signals, feedIsSilent: true }
  for (const session of [undefined, sessionOf()])
    assert.deepEqual(decide(compiled({}, ['ana']), session, silent), {
      kind: 'deny',
      reason: 'feed-silent',
    })
  const open = compiled({ preAuthentication: 'passthrough' }, [])
  assert.equal(decide(open, undefined, silent).kind, 'allow')
  assert.deepEqual(decide(undefined, undefined, silent), {
    kind: 'deny',
    reason: 'application-not-found',
  })
})

test('a message of sign-out passes without a session, and nothing does where nobody is heard', () => {
  const delivers = { ...signals, sessionReason: 'session-ended', deliversLogout: true } as const
  assert.equal(decide(compiled({}, []), undefined, delivers).kind, 'allow')
  assert.equal(
    decide(compiled({}, []), undefined, { ...delivers, feedIsSilent: true }).kind,
    'deny',
  )
  assert.equal(decide(undefined, undefined, delivers).kind, 'deny')
  // Somebody who is signed in again is decided as anybody else.
  assert.equal(decide(compiled({}, ['bob']), sessionOf(), delivers).kind, 'deny')
})
