import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, X509Certificate } from 'node:crypto'
import test from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { OriginFailure } from '../src/failure.ts'
import { Assertions } from '../src/sign-on/assertion.ts'
import { type Authority, type Issued, makeAuthority } from './authority.ts'
import { documentSigning, encode, identityNames as signer, toClaims, toToken } from './tokens.ts'

interface World {
  ca: Authority
  identity: Issued
  time: { nowAt: number }
  pinned: { pem: string }
  assertions: Assertions
  claims(more?: object): object
}

async function start(): Promise<World> {
  const ca = await makeAuthority('Sallyport connector CA')
  const identity = await ca.issue(signer)
  const time = { nowAt: Date.now() }
  const pinned = { pem: ca.pem }
  const assertions = new Assertions({
    caPem: () => pinned.pem,
    serviceHost: 'connect.sallyport.localhost',
    connectorId: 'c1',
    clock: () => time.nowAt,
  })
  const claims = (more: object = {}) => toClaims('http://iwa.corp.example', more, time.nowAt)
  return { ca, identity, time, pinned, assertions, claims }
}

function refuses({ assertions }: World, token: string, why: RegExp): void {
  assert.throws(
    () => assertions.read(token),
    (error) => {
      assert.ok(error instanceof OriginFailure, String(error))
      assert.equal(error.resetCode, ResetCode.SIGN_ON_FAILED)
      assert.match(error.message, /^ASSERTION_REFUSED: /)
      assert.match(error.message, why)
      return true
    },
  )
}

test('what identity signed for this connector is believed, with all that it says', async () => {
  const { assertions, identity, claims, time } = await start()
  const token = toToken(identity, claims())
  const {
    subject,
    sessionId,
    applicationId,
    origin,
    method,
    expiresAt,
    claims: all,
  } = assertions.read(token)
  assert.deepEqual(
    [subject, sessionId, applicationId, origin, method],
    ['ana', 's1', 'app-1', 'http://iwa.corp.example', 'kerberos'],
  )
  assert.equal(expiresAt, (Math.floor(time.nowAt / 1000) + 300) * 1000)
  assert.equal(all.spn, 'HTTP/iwa.corp.example')
  assert.equal(assertions.read(token), assertions.read(token))
})

test('a gateway that has fallen cannot make an assertion', async () => {
  const world = await start()
  const { ca, identity, claims } = world
  const other = await makeAuthority('Sallyport connector CA')
  const good = toToken(identity, claims())
  const [header, , signature] = good.split('.') as [string, string, string]

  refuses(world, `${header}.${encode(claims({ sub: 'administrator' }))}.${signature}`, /signature/)
  refuses(world, toToken(await other.issue(signer), claims()), /pinned CA/)
  const connector = await ca.issue({ uri: 'spiffe://sallyport.localhost/connector/c1' })
  refuses(world, toToken(connector, claims()), /not that of identity/)
  const server = await ca.issue({ dns: ['connect.sallyport.localhost'] })
  refuses(world, toToken(server, claims()), /not that of identity/)
  for (const names of [
    { ...signer, dns: ['connect.sallyport.localhost'] },
    { ...signer, uri: 'spiffe://sallyport.localhost/identity/sign-on/x' },
    { ...signer, uri: 'spiffe://other.localhost/identity/sign-on' },
    { ...signer, usages: [documentSigning, '1.3.6.1.5.5.7.3.2'] },
    { ...signer, usages: ['1.3.6.1.5.5.7.3.2'] },
  ])
    refuses(world, toToken(await ca.issue(names), claims()), /not that of identity/)
  // The certificate of identity beside the key of somebody else.
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  refuses(world, toToken({ ...identity, keyPem }, claims()), /signature/)
})

test('no other algorithm, type or form is read', async () => {
  const world = await start()
  const { identity, claims } = world
  for (const header of [
    { alg: 'none' },
    { alg: 'HS256' },
    { alg: 'ES384' },
    { typ: 'JWT' },
    { typ: undefined },
    { crit: ['exp'] },
  ])
    refuses(world, toToken(identity, claims(), header), /header/)
  refuses(world, toToken(identity, claims(), { x5c: undefined }), /no certificate/)
  refuses(world, toToken(identity, claims(), { x5c: [] }), /no certificate/)
  refuses(world, toToken(identity, claims(), { x5c: ['AAAA'] }), /cannot be read/)
  refuses(world, toToken(identity, claims(), { x5c: [7] }), /no certificate/)
  const good = toToken(identity, claims())
  const [header, payload] = good.split('.') as [string, string]
  // HMAC with the public key, which everybody knows, as its secret (CVE-2015-9235).
  const hmacHeader = encode({
    ...JSON.parse(Buffer.from(header, 'base64url').toString()),
    alg: 'HS256',
  })
  const publicPem = new X509Certificate(identity.certificatePem).publicKey
    .export({ type: 'spki', format: 'pem' })
    .toString()
  const mac = createHmac('sha256', publicPem).update(`${hmacHeader}.${payload}`).digest('base64url')
  refuses(world, `${hmacHeader}.${payload}.${mac}`, /header/)
  for (const text of [
    '',
    'a',
    'a.b',
    '..',
    `${good}.`,
    `${header}.${payload}.`,
    `${'a'.repeat(20_000)}.b.c`,
  ])
    refuses(world, text, /no JWS|signature/)
})

test('an assertion is for the connectors that it names, and must say what it must', async () => {
  const world = await start()
  const { identity, claims } = world
  for (const aud of [undefined, [], ['c2'], 'c1', ['C1']])
    refuses(world, toToken(identity, claims({ aud })), /not for this connector/)
  for (const more of [
    { sub: undefined },
    { sub: '' },
    { sub: 7 },
    { sid: undefined },
    { app: undefined },
    { origin: undefined },
    { method: ['kerberos'] },
    { iat: undefined },
    { exp: 'tomorrow' },
  ])
    refuses(world, toToken(identity, claims(more)), /does not say what it must/)
})

test('an assertion is good for minutes, by either clock', async () => {
  const world = await start()
  const { identity, claims, time, assertions } = world
  const token = toToken(identity, claims())
  assertions.read(token)
  const nowSeconds = Math.floor(time.nowAt / 1000)
  refuses(world, toToken(identity, claims({ exp: nowSeconds + 3_600 })), /lifetime/)
  refuses(world, toToken(identity, claims({ iat: nowSeconds + 300 })), /lifetime/)
  refuses(
    world,
    toToken(identity, claims({ iat: nowSeconds + 120, exp: nowSeconds + 300 })),
    /from the future/,
  )
  time.nowAt += 359_000
  assertions.read(token)
  time.nowAt += 2_000
  refuses(world, token, /expired/)
})

test('a certificate of identity counts from its beginning to its end', async () => {
  const world = await start()
  const { ca, claims, time } = world
  const notAfterAt = time.nowAt + 60_000
  const old = toToken(await ca.issue({ ...signer, notAfterAt }), claims())
  world.assertions.read(old)
  time.nowAt = notAfterAt + 1_000
  refuses(world, toToken(await ca.issue({ ...signer, notAfterAt }), claims()), /not valid now/)
  const early = await ca.issue({ ...signer, notBeforeAt: time.nowAt + 60_000 })
  refuses(world, toToken(early, claims()), /not valid now/)
})

test('what an authority that is pinned no more has vouched for counts no more', async () => {
  const world = await start()
  const { identity, claims, pinned } = world
  const token = toToken(identity, claims())
  world.assertions.read(token)
  pinned.pem = (await makeAuthority('Sallyport connector CA')).pem
  refuses(world, token, /pinned CA/)
})

test('the answer to a check is one, to the question that was asked, and signs nobody on', async () => {
  const world = await start()
  const { assertions, identity, claims } = world
  const header = { typ: 'sallyport-sign-on-check+jwt' }
  const about = { application: 'iwa', user: 'ana', path: '/', validate: true, sid: undefined }
  const asked = { application: 'iwa', user: 'ana' }
  const good = toToken(identity, claims(about), header)
  const facts = assertions.readCheck(good, asked)
  assert.deepEqual(
    [facts.origin, facts.path, facts.claims.spn],
    ['http://iwa.corp.example', '/', 'HTTP/iwa.corp.example'],
  )
  refuses(world, good, /header/)
  // A word that signs somebody on is no answer either.
  assert.throws(() => assertions.readCheck(toToken(identity, claims(about)), asked), /header/)
  for (const [more, why] of [
    [{ user: 'ben' }, /is about/],
    [{ application: 'other' }, /is about/],
    [{ aud: ['c0'] }, /not for this connector/],
    [{ validate: 'yes' }, /does not say/],
    [{ path: undefined }, /does not say/],
    [{ iat: undefined }, /does not say/],
  ] as const)
    assert.throws(
      () => assertions.readCheck(toToken(identity, claims({ ...about, ...more }), header), asked),
      why,
    )
  const stranger = await (await makeAuthority('Sallyport connector CA')).issue(signer)
  assert.throws(
    () => assertions.readCheck(toToken(stranger, claims(about), header), asked),
    /pinned CA/,
  )
  world.time.nowAt += 400_000
  assert.throws(() => assertions.readCheck(good, asked), /expired/)
})
