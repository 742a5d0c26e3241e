import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import test from 'node:test'
import {
  alreadySignedInPage,
  describeDevice,
  errorPage,
  html,
  linkUrl,
  notSignedInPage,
  portalPage,
  securityHeaders,
  sessionsPage,
  signedOutPage,
  signInAgainPage,
  signInDonePage,
  signInPage,
  signOutPage,
} from '../src/index.ts'

const evil = `"><script>alert(1)</script>'&`
const correlationId = '01930f5c-8f0e-7c11-9a51-3c5f0f6f2b11'

const pages: Record<string, string> = {
  'sign-in': signInPage({ applicationName: evil, userName: evil, problem: 'invalid' }),
  'signed out': signedOutPage({ signInUrl: 'https://apps.example.test/' }),
  'sign-out': signOutPage({
    person: { displayName: evil, userName: evil },
    stayUrl: '/',
    fields: { xsrf: evil },
    actionUrl: 'https://login.example.test/x',
  }),
  portal: portalPage({
    displayName: evil,
    userName: evil,
    notice: evil,
    sessionsUrl: 'https://login.example.test/sessions',
    signOutUrl: '/.sallyport/signout',
    applications: [{ name: 'a', displayName: evil, externalUrl: 'https://a.example.test/' }],
  }),
  sessions: sessionsPage({
    displayName: evil,
    userName: evil,
    nowAt: 1_800_000_000_000,
    notice: evil,
    sessions: [true, false].map((isCurrent) => ({
      handle: evil,
      userAgent: evil,
      clientAddress: evil,
      signedInAt: 1_799_990_000_000,
      lastUsedAt: 1_799_999_000_000,
      isCurrent,
    })),
    portalUrl: 'https://apps.example.test/',
    signOutUrl: 'https://apps.example.test/.sallyport/signout',
  }),
  error: errorPage({
    statusCode: 503,
    code: 'no-connector',
    title: evil,
    explanation: evil,
    remedy: evil,
    correlationId: evil,
    applicationName: evil,
    signedInAs: evil,
    links: [{ href: '/', label: evil }],
    retry: true,
  }),
  again: signInAgainPage({ applicationName: evil, signInUrl: '/.sallyport/signin', correlationId }),
  done: signInDonePage({ language: evil }),
  'not signed in': notSignedInPage({ language: evil, portalUrl: 'https://apps.example.test/' }),
  'signed in already': alreadySignedInPage({ language: evil, portalUrl: '/' }),
}

for (const [name, text] of Object.entries(pages)) {
  test(`the ${name} page shows what it is told as text, never as HTML`, () => {
    assert.doesNotMatch(text, /<script>alert/)
    assert.doesNotMatch(text, /="[^"]*"><script/)
    assert.match(text, /&quot;&gt;&lt;script&gt;|signed out/)
  })

  test(`the ${name} page holds nothing that its policy would block`, () => {
    const [, policy] = securityHeaders()
    const allowed = [...policy!.matchAll(/'(sha256-[^']+)'/g)].map(([, hash]) => hash)
    for (const [, , content] of text.matchAll(/<(style|script)>(.*?)<\/\1>/gs)) {
      const hash = `sha256-${createHash('sha256').update(content!).digest('base64')}`
      assert.ok(allowed.includes(hash), content!.slice(0, 60))
    }
    assert.doesNotMatch(
      text,
      / style=| on[a-z]+=|<(style|script|link|iframe|img)[^>]* (src|href)="(?!data:)/,
    )
  })
}

test('the sign-in form goes back to its own URL, so that a fragment survives', () => {
  assert.match(pages['sign-in']!, /<form class="fields" method="post">/)
})

test('a refused sign-in is told to those who cannot see it', () => {
  assert.match(pages['sign-in']!, /role="alert" id="problem"/)
  assert.equal(
    pages['sign-in']!.match(/aria-describedby="problem" aria-invalid="true"/g)!.length,
    2,
  )
  const first = signInPage({})
  assert.doesNotMatch(first, /role="alert"|aria-invalid="true"/)
  assert.match(signInPage({ problem: 'limited', retryAfterSeconds: 30 }), /Wait 30 seconds/)
  assert.match(signInPage({ problem: 'limited', retryAfterSeconds: 1 }), /Wait a moment/)
})

test('every page has a way on', () => {
  for (const [name, text] of Object.entries(pages)) assert.match(text, /<a [^>]*href=|<form/, name)
})

test('an error page says what support asks for, once for people and once for the clipboard', () => {
  const text = errorPage({
    statusCode: 403,
    code: 'USER_NOT_ASSIGNED',
    title: 'No',
    explanation: 'No.',
    correlationId,
    applicationName: 'HR',
    signedInAs: 'Ana',
  })
  assert.match(text, /<dt>Application<\/dt><dd>HR<\/dd>\s*<dt>Signed in as<\/dt><dd>Ana<\/dd>/)
  assert.ok(text.includes(`<code>${correlationId}</code>`))
  assert.ok(text.includes(`data-copy="${correlationId}"`))
  assert.doesNotMatch(text, /Try again/)
})

test('a page that is to name nobody names nobody', () => {
  const facts = { statusCode: 404, code: 'x', title: 'No', explanation: 'No.', correlationId }
  const text = errorPage({ ...facts, anonymous: true })
  assert.doesNotMatch(text, /sallyport|mark-door"/i)
  assert.match(errorPage(facts), /<title>No · Sallyport<\/title>/)
})

test('only the page whose form leaves the host may let it', () => {
  assert.match(securityHeaders()[1]!, /; form-action 'self'$/)
  assert.doesNotMatch(securityHeaders({ formAction: 'any' })[1]!, /form-action/)
  for (const directive of ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"])
    for (const formAction of ['self', 'any'] as const)
      assert.ok(securityHeaders({ formAction })[1]!.includes(directive))
})

test('a link leads to https or to a path of the host', () => {
  for (const url of ['/', '/.sallyport/signout', 'https://a.example.test/x?y'])
    assert.equal(linkUrl(url), url)
  for (const url of [
    'javascript:alert(1)',
    'data:text/html,x',
    'http://a.example.test/',
    '//evil.test/',
    '/\\evil.test/',
    'https:evil.test',
    'https:///evil.test',
    ' https://evil.test',
    '',
  ])
    assert.throws(() => linkUrl(url), TypeError, url)
})

test('a template escapes what it is given, in lists too, and leaves out what is not there', () => {
  assert.equal(
    html`<p>${['<', html`<b>${'"'}</b>`, 1]}${undefined}${false}</p>`.text,
    '<p>&lt;<b>&quot;</b>1</p>',
  )
})

test('a tile that leads elsewhere takes nothing along, and never runs a script', () => {
  const tile = (externalUrl: string) =>
    portalPage({
      displayName: 'x',
      userName: 'x',
      sessionsUrl: '/',
      signOutUrl: '/',
      applications: [{ name: 'a', displayName: 'A', externalUrl, leadsElsewhere: true }],
    })
  assert.match(
    tile('http://a.example/?x="&y'),
    /<a class="tile" href="http:\/\/a\.example\/\?x=&quot;&amp;y" rel="noopener noreferrer" referrerpolicy="no-referrer">/,
  )
  for (const url of ['javascript:alert(1)', 'data:text/html,x', '//a.example/'])
    assert.throws(() => tile(url), TypeError)
})

test('a monogram is made of letters and digits of any script', () => {
  const shown = (displayName: string) =>
    /aria-hidden="true">([^<]*)<\/span>/.exec(
      portalPage({
        displayName: 'x',
        userName: 'x',
        sessionsUrl: '/',
        signOutUrl: '/',
        applications: [{ name: 'a', displayName, externalUrl: 'https://a.example.test/' }],
      }),
    )![1]
  assert.deepEqual(
    ['Human Resources', 'wiki', '\u4eba\u4e8b', '\u{1f511}', '\u{10330}\u{10331}\u{10332}'].map(
      shown,
    ),
    ['HR', 'WI', '\u4eba\u4e8b', '?', '\u{10330}\u{10331}'],
  )
})

test('a device is called what its owner calls it, and one that says nothing is not guessed', () => {
  const chrome = 'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36'
  for (const [userAgent, name] of [
    [`Mozilla/5.0 (X11; Linux x86_64) ${chrome}`, 'Chrome on Linux'],
    [`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${chrome} Edg/141.0.0.0`, 'Edge on Windows'],
    [`Mozilla/5.0 (Linux; Android 14; Pixel 8) ${chrome}`, 'Chrome on Android'],
    ['Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox on Windows'],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1',
      'Safari on iPhone',
    ],
    [
      'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15',
      'Safari on macOS',
    ],
    ['curl/8.5.0 (Linux)', 'A browser on Linux'],
    ['<script>alert(1)</script>', 'An unknown browser'],
    ['', 'An unknown browser'],
    [undefined, 'An unknown browser'],
  ] as const)
    assert.equal(describeDevice(userAgent), name)
})
