import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type TestContext, test } from 'node:test'
import { ResetCode, type TunnelError } from '@sallyport/protocol'
import { readSealingKey, sealCredential } from '@sallyport/sso/password'
import { readSealingKeyPem } from '../src/state.ts'
import { Inbox } from './inbox.ts'
import { startHttpOrigin } from './origins.ts'
import { connected, GatewayStream, openText } from './service.ts'
import { identityNames, toClaims, toToken } from './tokens.ts'

const password = 'correct horse'
const form = { signInPage: '/login', formAction: '/login', startPage: '/' }
const formPage =
  '<form action="/login" method="post"><input name="u"><input type="password" name="p"></form>'
const html = { 'Content-Type': 'text/html' }

interface Asked {
  req: IncomingMessage
  res: ServerResponse
}

/** A connector with one origin that signs people on with a password, and answers as the test says. */
async function start(t: TestContext, kind: 'basic' | 'form') {
  const time = { aheadMs: 0 }
  const asked = new Inbox<Asked>()
  const origin = await startHttpOrigin(t, (req, res) => asked.put({ req, res }))
  const running = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    clock: () => Date.now() + time.aheadMs,
  })
  const identity = await running.service.ca.issue(identityNames)
  const { publicKey } = readSealingKey(readSealingKeyPem(running.stateDir))
  const subject = 'user:ana'
  const sealed = sealCredential(
    publicKey,
    { userName: 'ana', password },
    {
      applicationId: 'app-1',
      subject,
      origin: origin.url,
      action: kind === 'form' ? 'form /login' : 'basic',
      version: 1,
    },
  )
  const claims = (more: object) => ({
    method: 'password',
    credential: { subject, version: 1, sealed: [sealed] },
    ...(kind === 'form' ? { form } : {}),
    ...more,
  })
  const ask = (fields: string[] = [], more: object = {}, timeoutMs = 10_000) => {
    const token = toToken(identity, toClaims(origin.url, claims(more), Date.now() + time.aheadMs))
    const stream = new GatewayStream(
      running.session,
      `${openText({ url: origin.url, timeoutMs })}\n${token}`,
    )
    stream.stream.sendHead(['GET / HTTP/1.1', 'Host: x', ...fields].join('\r\n'), true)
    return stream
  }
  const open = (more: object = {}, timeoutMs?: number) =>
    ask(['Accept: text/html', 'Cookie: session=old'], more, timeoutMs)
  return { ...running, time, asked, ask, open }
}

function assertRefused({ resetCode, detail }: TunnelError): void {
  assert.equal(resetCode, ResetCode.SIGN_ON_FAILED)
  assert.match(String(detail), /^CREDENTIAL_REFUSED: /)
}

test('a request that is signed on carries no authorization of the gateway, whether it needs any or not', async (t) => {
  const { asked, ask } = await start(t, 'form')
  for (const page of [[], ['Accept: text/html', 'Cookie: session=old']]) {
    const stream = ask([...page, 'Authorization: Negotiate YII='])
    const { req, res } = await asked.take()
    assert.equal(req.headers.authorization, undefined)
    res.end('hello')
    await stream.ended()
  }
})

test('nothing goes on before it is known what the answer to a sign-on is, but that a body may come', async (t) => {
  const { asked, ask } = await start(t, 'basic')
  const stream = ask()
  const { res } = await asked.take()
  res.writeContinue()
  res.writeEarlyHints({ link: '</a>; rel=preload', 'x-early': 'set by whoever answers' })
  res.end('hello')
  await stream.ended()
  assert.deepEqual(
    stream.heads.all.map((head) => head.split('\r\n', 1)[0]),
    ['HTTP/1.1 100 Continue', 'HTTP/1.1 200 OK'],
  )
})

test('a page without content, looked at for a form, is answered once', async (t) => {
  const { connector, asked, open } = await start(t, 'form')
  const stream = open()
  const { res } = await asked.take()
  res.writeHead(200, { ...html, 'Content-Length': '0' }).end()
  await stream.ended()
  assert.match(stream.heads.last!, /^HTTP\/1\.1 200 /)
  const { active, failed } = connector.status().exchanges
  assert.deepEqual({ active, failed }, { active: 0, failed: 0 })
})

test('a page that shows the form after another request has found the password wrong ends at once, and nothing is sent', async (t) => {
  const { asked, open } = await start(t, 'form')
  const ends = [open().failed(), open({ sid: 's2' }).failed()]
  const pages = [await asked.take(), await asked.take()]
  pages[0]!.res.writeHead(200, html).end(formPage)
  for (const method of ['GET', 'POST']) {
    const { req, res } = await asked.take()
    assert.equal(req.method, method)
    res.writeHead(200, html).end(formPage)
  }
  assertRefused(await Promise.race(ends))
  pages[1]!.res.writeHead(200, html).end(formPage)
  for (const end of ends) assertRefused(await end)
  assert.equal(asked.all.length, 4)
})

test('a person who leaves while another request tries the password stands in nobody’s way', async (t) => {
  const { connector, asked, ask } = await start(t, 'basic')
  const first = ask()
  const { res } = await asked.take()
  const second = ask()
  const third = ask()
  second.stream.reset(ResetCode.CANCELLED)
  while (connector.status().exchanges.cancelled === 0)
    await new Promise((resolve) => setImmediate(resolve))
  res.writeHead(404).end()
  await first.ended()
  const next = await asked.take()
  assert.equal(next.req.headers.authorization, `Basic ${btoa(`ana:${password}`)}`)
  next.res.writeHead(200).end('hello')
  await third.ended()
  assert.equal(third.body, 'hello')
})

test('a password that the application took long ago is tried by one request at a time again', async (t) => {
  const { connector, time, asked, ask } = await start(t, 'basic')
  const answer = async (statusCode: number) => {
    const { res } = await asked.take()
    res.writeHead(statusCode, { 'WWW-Authenticate': 'Basic realm="x"' }).end()
  }
  const first = ask()
  await answer(200)
  await first.ended()
  const parallel = [ask(), ask()]
  const both = [await asked.take(), await asked.take()]
  for (const { res } of both) res.writeHead(200).end()
  for (const one of parallel) await one.ended()
  time.aheadMs = 11 * 60_000
  const burst = Array.from({ length: 10 }, () => ask())
  while (connector.status().exchanges.active < 10)
    await new Promise((resolve) => setImmediate(resolve))
  await answer(401)
  for (const one of burst) assertRefused(await one.failed())
  assert.equal(asked.all.length, 4)
})

test('a page that comes without end is passed on, whether it shows the form or not', async (t) => {
  const { asked, open } = await start(t, 'form')
  const stream = open({}, 2_000)
  const { res } = await asked.take()
  res.writeHead(200, html).write('<p>one')
  assert.match(await stream.heads.take(), /^HTTP\/1\.1 200 /)
  assert.equal((await stream.chunks.take()).toString(), '<p>one')
  res.end('<p>two')
  await stream.ended()
  assert.equal(stream.body, '<p>one<p>two')
})

test('the browser gets the cookies of the sign-in for the paths they were set for, and those of its page after them', async (t) => {
  const { asked, open } = await start(t, 'form')
  const stream = open({ form: { ...form, signInPage: '/account/login', formAction: '/login' } })
  const next = async (fields: Record<string, string | string[]>, body = '') => {
    const { res } = await asked.take()
    res.writeHead(200, { ...html, ...fields }).end(body)
  }
  await next({}, formPage)
  await next({ 'Set-Cookie': 'visit=1' }, formPage)
  await next({ 'Set-Cookie': 'session=first; Path=/; HttpOnly' })
  await next({})
  await next({ 'Set-Cookie': 'session=second; Path=/' }, 'hello')
  await stream.ended()
  assert.deepEqual(
    stream.heads.last!.split('\r\n').filter((line) => /^set-cookie:/i.test(line)),
    [
      'Set-Cookie: visit=1; Path=/account',
      'Set-Cookie: session=first; Path=/; HttpOnly',
      'Set-Cookie: session=second; Path=/',
    ],
  )
})

test('a sign-in that is under way when the connector stops ends with it', async (t) => {
  const { connector, asked, ask } = await start(t, 'form')
  const failed = ask(['Accept: text/html']).failed()
  const { req } = await asked.take()
  assert.equal(req.url, '/login')
  const gone = once(req.socket, 'close')
  await connector.close()
  await gone
  await failed
})

test('a password that leads nowhere is sent a few times, and then the application is shown as it is', async (t) => {
  const { asked, ask } = await start(t, 'form')
  const page = ['Accept: text/html']
  for (let count = 0; count < 4; count += 1) {
    const failed = ask(page).failed()
    const form = await asked.take()
    form.res.writeHead(200, html).end(formPage)
    const { req, res } = await asked.take()
    assert.equal(req.method, 'POST')
    res.writeHead(500).end()
    assert.match(String((await failed).detail), /^SIGN_IN_FAILED: /)
  }
  const stream = ask(page)
  const { req, res } = await asked.take()
  assert.equal(req.url, '/')
  res.writeHead(200, html).end(formPage)
  await stream.ended()
  assert.equal(stream.body, formPage)
  const other = ask(page, { sid: 's2' }).failed()
  assert.equal((await asked.take()).req.url, '/login')
  asked.last!.res.writeHead(503).end()
  await other
})

test('what an application writes into its page does not fill the log', async (t) => {
  const { asked, ask, log } = await start(t, 'form')
  const failed = ask(['Accept: text/html']).failed()
  const { res } = await asked.take()
  const page = formPage.replace('/login', `/${'x'.repeat(100_000)}`)
  res.writeHead(200, html).end(page)
  assert.match(String((await failed).detail), /^FORM_ACTION_DIFFERS: /)
  const { facts } = await log.lines.find(({ message }) => message === 'request failed')
  assert.equal(String(facts.detail).length, 1_024)
})
