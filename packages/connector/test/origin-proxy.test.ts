import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { makeAuthority } from './authority.ts'
import { startHttpOrigin } from './origins.ts'
import { startProxy } from './proxies.ts'
import { connected, exchange, failure } from './service.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'

test('origins are reached through the proxy, by the address that was checked', async (t) => {
  const ca = await makeAuthority('Private CA')
  const plain = await startHttpOrigin(t, (_req, res) => res.end('plain'))
  const secure = await startHttpOrigin(
    t,
    (_req, res) => res.end('secure'),
    await ca.issue({ dns: ['app.internal'] }),
  )
  const proxy = await startProxy(t, { credentials: 'u:p w' })
  const originProxy = new URL(proxy.url)
  originProxy.username = 'u'
  originProxy.password = 'p w'
  const { session } = await connected(t, {
    allow: ['app.internal', '127.0.0.1'],
    resolve: async (name) => (name === 'app.internal' ? ['169.254.169.254', '127.0.0.1'] : []),
    originProxy,
    originCa: ca.pem,
  })
  // A host rule does not permit loopback, an address rule does; the metadata service is never asked
  // for.
  const answers = [
    await exchange(session, { url: `http://app.internal:${plain.port}` }, get),
    await exchange(session, { url: `https://app.internal:${secure.port}` }, get),
    await exchange(session, { url: `http://127.0.0.1:${plain.port}` }, get),
  ]
  assert.deepEqual(
    answers.map(({ body }) => body),
    ['plain', 'secure', 'plain'],
  )
  assert.deepEqual(
    proxy.requests.map(({ target }) => target),
    [plain.port, secure.port, plain.port].map((port) => `127.0.0.1:${port}`),
  )
})

test('what the allow-list forbids is not asked of the proxy', async (t) => {
  const proxy = await startProxy(t)
  const { session } = await connected(t, {
    allow: ['10.0.0.0/8', 'app.internal'],
    resolve: async () => ['127.0.0.1'],
    originProxy: proxy.url,
  })
  for (const url of ['http://127.0.0.1:1', 'http://app.internal', 'https://169.254.169.254'])
    assert.equal((await failure(session, { url })).resetCode, ResetCode.DESTINATION_FORBIDDEN)
  assert.equal(proxy.requests.length, 0)
})

test('a proxy that refuses makes the origin unreachable, and the log says which code', async (t) => {
  const proxy = await startProxy(t, { credentials: 'u:p' })
  const { session, log } = await connected(t, { allow: ['127.0.0.1'], originProxy: proxy.url })
  const error = await failure(session, { url: 'http://127.0.0.1:1' })
  assert.equal(error.resetCode, ResetCode.ORIGIN_UNREACHABLE)
  assert.match(error.detail!, /PROXY_AUTHENTICATION_REQUIRED/)
  const line = await log.lines.find(({ message }) => message === 'request failed')
  assert.equal(line.facts.code, 'PROXY_AUTHENTICATION_REQUIRED')
})
