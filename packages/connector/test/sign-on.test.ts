import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { startHttpOrigin } from './origins.ts'
import { connected, exchange, GatewayStream, openText } from './service.ts'
import { identityNames, toClaims, toToken } from './tokens.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'

/** A connector with one origin that counts what reaches it. */
async function start(t: TestContext) {
  const origin = await startHttpOrigin(t, (_, res) => res.end('hello'))
  const other = await startHttpOrigin(t, (_, res) => res.end('other'))
  let requests = 0
  for (const { server } of [origin, other]) server.on('request', () => (requests += 1))
  const running = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`, `127.0.0.1:${other.port}`],
    kerberos: [
      {
        account: 'svc@CORP.EXAMPLE',
        keytab: '/nonexistent/svc.keytab',
        kdcs: ['127.0.0.1:1'],
        servicePrincipalNames: ['HTTP/*.corp.example'],
        neverImpersonate: ['CEO'],
      },
    ],
  })
  const identity = await running.service.ca.issue(identityNames)
  const refused = async (token: string, url = origin.url) => {
    const stream = new GatewayStream(running.session, `${openText({ url })}\n${token}`)
    stream.stream.sendHead(get, true)
    const error = await stream.failed()
    assert.equal(error.resetCode, ResetCode.SIGN_ON_FAILED, String(error.detail))
    return error.detail!
  }
  return { ...running, origin, other, identity, refused, count: () => requests }
}

test('a hostile gateway signs nobody on: not by its word, not by a certificate that it can get, not by an old assertion', async (t) => {
  const { service, issued, identity, origin, refused, count } = await start(t)
  const claims = toClaims(origin.url)
  const good = toToken(identity, claims)
  const [header, , signature] = good.split('.') as [string, string, string]
  const forged = Buffer.from(JSON.stringify({ ...claims, sub: 'root' })).toString('base64url')
  assert.match(await refused('ana'), /^ASSERTION_REFUSED: /)
  assert.match(await refused(''), /^ASSERTION_REFUSED: /)
  assert.match(await refused(`${header}.${forged}.${signature}`), /signature/)
  assert.match(await refused(toToken(issued, claims)), /not that of identity/)
  const server = await service.ca.issue({ dns: ['connect.sallyport.localhost'] })
  assert.match(await refused(toToken(server, claims)), /not that of identity/)
  const past = toClaims(origin.url, {}, Date.now() - 3_600_000)
  assert.match(await refused(toToken(identity, past)), /expired/)
  assert.equal(count(), 0)
})

test('an assertion is for one application at one origin, and for the connectors that it names', async (t) => {
  const { identity, origin, other, refused, count } = await start(t)
  assert.match(await refused(toToken(identity, toClaims(origin.url)), other.url), /is for http/)
  assert.match(await refused(toToken(identity, toClaims(other.url))), /is for http/)
  assert.match(await refused(toToken(identity, toClaims(origin.url, { app: 'app-2' }))), /app-2/)
  assert.match(
    await refused(toToken(identity, toClaims(origin.url, { aud: ['c9'] }))),
    /not for this connector/,
  )
  assert.equal(count(), 0)
})

test('a hostile gateway has nobody signed on to an origin with whatever certificate, unless the application allows that', async (t) => {
  const { session, identity, origin, count } = await start(t)
  const ask = async (more: object) => {
    const token = toToken(identity, toClaims(origin.url, more))
    const opening = openText({ url: origin.url, validate: false })
    const stream = new GatewayStream(session, `${opening}\n${token}`)
    stream.stream.sendHead(get, true)
    return String((await stream.failed()).detail)
  }
  for (const validate of [true, undefined, 0, 'false'])
    assert.match(await ask({ validate }), /^ASSERTION_REFUSED: .*certificate/)
  assert.match(await ask({ validate: false }), /^KERBEROS_KEYTAB_UNREADABLE: /)
  assert.equal(count(), 0)
})

test('the connector decides for which applications its account is, and for whom it is not', async (t) => {
  const { identity, origin, refused, count } = await start(t)
  const ask = (more: object) => refused(toToken(identity, toClaims(origin.url, more)))
  assert.match(await ask({ spn: 'HTTP/iwa.other.example' }), /^KERBEROS_NOT_CONFIGURED: /)
  assert.match(await ask({ spn: 'HTTP/iwa.corp.example.evil' }), /^KERBEROS_NOT_CONFIGURED: /)
  for (const login of [
    { type: 'principal', name: 'ceo' },
    { type: 'enterprise', name: 'Ceo@corp.example' },
    { type: 'principal', name: 'CEO', realm: 'OTHER.EXAMPLE' },
  ])
    assert.match(await ask({ login }), /^KERBEROS_USER_REFUSED: /)
  assert.match(await ask({ login: { type: 'principal' } }), /^ASSERTION_REFUSED: /)
  assert.match(await ask({ login: 'ana' }), /^ASSERTION_REFUSED: /)
  assert.match(await ask({ spn: undefined }), /^ASSERTION_REFUSED: /)
  assert.match(await ask({ method: 'magic' }), /^SIGN_ON_METHOD_UNKNOWN: /)
  assert.match(await ask({}), /^KERBEROS_KEYTAB_UNREADABLE: .*svc\.keytab/)
  assert.equal(count(), 0)
})

test('what fails says so in the log of the connector too, by its code', async (t) => {
  const { identity, origin, refused, log } = await start(t)
  await refused(toToken(identity, toClaims(origin.url)))
  for (;;) {
    const { message, facts } = await log.lines.take()
    if (message !== 'request failed') continue
    assert.equal(facts.code, 'KERBEROS_KEYTAB_UNREADABLE')
    assert.equal(facts.reset, 'SIGN_ON_FAILED')
    break
  }
})

test('a stream that says whom to forget reaches no origin, and whatever it says does no harm', async (t) => {
  const { session, origin, count } = await start(t)
  for (const forget of [
    { users: ['ana'], sessions: ['s1', 's2'] },
    { users: [], sessions: [] },
  ]) {
    const stream = new GatewayStream(session, `\0${JSON.stringify({ v: 1, forget })}`)
    stream.stream.sendHead('FORGET', true)
    assert.equal((await stream.failed()).resetCode, ResetCode.NO_ERROR)
  }
  for (const forget of [
    7,
    null,
    {},
    { users: 'ana', sessions: [] },
    { users: [1], sessions: [] },
  ]) {
    const stream = new GatewayStream(session, `\0${JSON.stringify({ v: 1, forget })}`)
    stream.stream.sendHead('FORGET', true)
    assert.equal((await stream.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
  }
  assert.equal(count(), 0)
  assert.equal((await exchange(session, { url: origin.url }, get)).statusCode, 200)
})
