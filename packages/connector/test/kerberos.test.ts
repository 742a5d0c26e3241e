import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DelegationEngine } from '@sallyport/kerberos'
import type { Assertion } from '../src/sign-on/assertion.ts'
import { KerberosSignOn } from '../src/sign-on/kerberos.ts'
import { findReply, isNegotiation } from '../src/sign-on/negotiate.ts'
import type { SignOnRequest } from '../src/sign-on/sign-on.ts'

const spn = 'HTTP/iwa.corp.example'

/** An account whose directory gives everybody a ticket, by the name that is told here. */
function start(principal: string) {
  let tickets = 1
  const engine: DelegationEngine = {
    authorize: async () => ({
      token: Buffer.from(`ticket ${tickets}`),
      principal,
      verifyReply: () => undefined,
    }),
    checkAccount: async () => ({ kdcOffsetMs: undefined }),
    forgetTicket: () => {
      tickets += 1
    },
    forgetUser: () => undefined,
    close: () => undefined,
  }
  const signOn = new KerberosSignOn([
    {
      account: 'svc@CORP.EXAMPLE',
      realm: 'CORP.EXAMPLE',
      engine,
      neverImpersonate: new Set(),
      serves: () => true,
    },
  ])
  const ask = async (login: object, challenges = 0) =>
    signOn.authorize(assertion(login), { ...request, challenges })
  return { ask, tickets: () => tickets }
}

function assertion(login: object): Assertion {
  return {
    subject: 'ana',
    sessionId: 's',
    applicationId: 'app-1',
    origin: 'http://iwa.internal',
    method: 'kerberos',
    expiresAt: 1,
    person: 'ana',
    claims: { login, spn, tokenFormat: 'spnego', sendToken: 'always' },
  }
}

const request: SignOnRequest = {
  // Of no use to this method.
  origin: undefined as unknown as SignOnRequest['origin'],
  method: 'GET',
  target: '/',
  fields: [],
  startedMs: 0,
  isRepeatable: true,
  challenges: 0,
  signal: new AbortController().signal,
  channelBinding: undefined,
}

test('an application that takes no ticket of a person is given one new one, and not one with each request', async () => {
  const { ask, tickets } = start('ana@CORP.EXAMPLE')
  const login = { type: 'principal', name: 'ana' }
  const challenge = ['WWW-Authenticate', 'Negotiate']
  assert.equal((await ask(login)).readAnswer(401, challenge), 'again')
  assert.equal((await ask(login, 1)).readAnswer(401, challenge), 'refused')
  for (let count = 0; count < 20; count += 1)
    assert.equal((await ask(login)).readAnswer(401, challenge), 'refused')
  assert.equal(tickets(), 2)
  const other = await ask({ type: 'principal', name: 'ben' })
  assert.equal(other.readAnswer(401, challenge), 'again')
  assert.equal(tickets(), 3)
})

test('a challenge of Negotiate is found among others in one field, and no other word is taken for it', () => {
  for (const [value, reply] of [
    ['Negotiate', ''],
    ['negotiate oYG=', 'oYG='],
    ['Basic realm="x", Negotiate', ''],
    ['Negotiate oYG=, NTLM', 'oYG='],
    ['Kerberos', ''],
    ['Negotiate2', undefined],
    ['Basic realm="negotiate"', undefined],
    ['NTLM', undefined],
  ] as const) {
    assert.equal(isNegotiation('www-authenticate', value), reply !== undefined, value)
    assert.equal(findReply(['WWW-Authenticate', value]), reply, value)
  }
})
