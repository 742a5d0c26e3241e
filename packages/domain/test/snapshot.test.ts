import assert from 'node:assert/strict'
import test from 'node:test'
import {
  type ApplicationInput,
  applicationSchema,
  ConfigurationError,
  compileSnapshot,
  findApplicationAt,
  isReservedTarget,
  linkedApplicationSchema,
  parseTarget,
  type Snapshot,
  toInternalPath,
} from '../src/index.ts'

let next = 0
function app(name: string, externalUrl: string, more: Partial<ApplicationInput> = {}) {
  next += 1
  const application = applicationSchema.parse({
    id: `00000000-0000-4000-8000-${String(next).padStart(12, '0')}`,
    name,
    displayName: name,
    externalUrl,
    internalUrl: `http://${name}.internal/`,
    ...more,
  })
  return { application, principalIds: [] }
}

function snapshotOf(...applications: ReturnType<typeof app>[]): Snapshot {
  return compileSnapshot({ applications, baseDomain: 'example.test', port: 443, version: 1 })
}

function nameAt(snapshot: Snapshot, host: string, target: string): string | undefined {
  return findApplicationAt(snapshot, host, target)?.compiled.application.name
}

function codeAt(snapshot: Snapshot, target: string): string {
  try {
    return nameAt(snapshot, 'www.example.test', target) ?? 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('the longest published path on a segment boundary wins', () => {
  const snapshot = snapshotOf(
    app('root', 'https://www.example.test/'),
    app('app', 'https://www.example.test/app/'),
    app('deep', 'https://www.example.test/app/deep/er/'),
  )
  const at = (target: string) => nameAt(snapshot, 'www.example.test', target)
  assert.equal(at('/'), 'root')
  assert.equal(at('/app'), 'app')
  assert.equal(at('/app?x'), 'app')
  assert.equal(at('/app/'), 'app')
  assert.equal(at('/application'), 'root')
  assert.equal(at('/app/deep'), 'app')
  assert.equal(at('/app/deep/er'), 'deep')
  assert.equal(at('/app/deep/er/x'), 'deep')
  assert.equal(at('/app/deep/era'), 'app')
  assert.equal(nameAt(snapshot, 'other.example.test', '/'), undefined)
})

test('a path that another server would read as another application is ambiguous', () => {
  const snapshot = snapshotOf(
    app('root', 'https://www.example.test/'),
    app('admin', 'https://www.example.test/admin/'),
  )
  for (const target of [
    '/public/../admin',
    '/public/%2e%2e/admin',
    '/public/..%2fadmin',
    '/public/%2e%2e%2fadmin',
    '/public/.%2e/admin',
    '//admin',
    '/public//..//admin',
    '/./admin',
    '/x/..;/admin',
    '/%61dmin/',
    '/%2561dmin/',
    '/%c1%a1dmin/',
    '/%ef%bd%81dmin/',
    '\\admin',
    '/\\admin',
    '/%5cadmin',
    '/ADMIN/',
    '/;x/admin',
  ].filter((target) => target.startsWith('/')))
    assert.equal(codeAt(snapshot, target), 'TARGET_AMBIGUOUS', target)
  for (const target of [
    '/admin;x=1',
    '/..;x\\admin/',
    '/a;b\\..\\admin/',
    '/p%2fq/../%2e%2e/admin',
    '/admin./x',
    '/admin%20/x',
    '/admin::$DATA/x',
    '/admin:$i30:$INDEX_ALLOCATION/x',
    '/;/admin',
    '/x;/../admin',
    '/%25%32%65%25%32%65/%61dmin',
    '/%25252561dmin',
    '/%f0%80%80%afadmin',
    '/%25u0061dmin/',
  ])
    assert.equal(codeAt(snapshot, target), 'TARGET_AMBIGUOUS', target)
  assert.equal(codeAt(snapshot, '/public/%c0%80'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, '/public/%2500'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, '/public/%u0061'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, '/admin/..;/x'), 'TARGET_AMBIGUOUS')
  // Who decodes but resolves no dot segments would be in the admin application.
  assert.equal(codeAt(snapshot, '/admin%2f..'), 'TARGET_AMBIGUOUS')
  assert.equal(codeAt(snapshot, '/public/a%2Fb'), 'root')
  assert.equal(codeAt(snapshot, '/admin/a%2Fb/'), 'admin')
  assert.equal(codeAt(snapshot, '/public/%00'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, '/public/%0d%0a'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, '/public/%zz'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, '/public#/admin'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, 'http://x/'), 'TARGET_INVALID')
  assert.equal(codeAt(snapshot, '*'), 'TARGET_INVALID')
})

test('a path that means one application but for capitals is ambiguous in either spelling', () => {
  const snapshot = snapshotOf(
    app('root', 'https://www.example.test/'),
    app('admin', 'https://www.example.test/Admin/'),
  )
  assert.equal(codeAt(snapshot, '/Admin/x'), 'admin')
  assert.equal(codeAt(snapshot, '/Admin'), 'admin')
  assert.equal(codeAt(snapshot, '/admin/x'), 'TARGET_AMBIGUOUS')
  assert.equal(codeAt(snapshot, '/admin'), 'TARGET_AMBIGUOUS')
  assert.equal(codeAt(snapshot, '/ADMIN/x'), 'TARGET_AMBIGUOUS')
  assert.equal(codeAt(snapshot, '/administration'), 'root')
})

test('what applications really use in paths stays one reading of one application', () => {
  const snapshot = snapshotOf(
    app('root', 'https://www.example.test/'),
    app('git', 'https://www.example.test/git/'),
  )
  for (const target of [
    '/git/group%2Fproject/-/raw/a%20b;c//d',
    '/git/proxy/https%3A%2F%2Fx.example%2F%3Fa%3D%252Fb',
    '/git/http://x.example/a',
    '/git/@user:host/...etc./x',
    '/git/file.tar.',
    '/git/a(b)[c]{d}|e^f`g"h<i>\'',
    '/git/%E6%97%A5%E6%9C%AC%E8%AA%9E/%EF%BC%A1',
    `/git/${'a%20b/'.repeat(400)}`,
  ])
    assert.equal(codeAt(snapshot, target), 'git', target)
})

test('a path that could be read in endless ways is refused, and quickly', () => {
  const snapshot = snapshotOf(app('root', 'https://www.example.test/'))
  const startedMs = performance.now()
  for (const target of [
    `/${'%25'.repeat(5000)}2e`,
    `/${'%2525%c0%ae;\\//./../'.repeat(700)}`,
    `/${';x'.repeat(8000)}`,
    `/${'. '.repeat(8000)}x`.replaceAll(' ', '%20'),
    `/${':$'.repeat(8000)}`,
    `/${'a./'.repeat(5000)}`,
  ])
    assert.match(codeAt(snapshot, target.slice(0, 16_384)), /^(?:root|TARGET_)/)
  // Six of the largest targets; a path that took a second would stop everybody else for one.
  assert.ok(performance.now() - startedMs < 1_000)
})

test('a rewritten path that could leave the internal path is ambiguous', () => {
  const snapshot = snapshotOf(
    app('root', 'https://www.example.test/', { internalUrl: 'http://x.internal/people/' }),
  )
  assert.equal(codeAt(snapshot, '/a/../b'), 'root')
  assert.equal(codeAt(snapshot, '/../secret'), 'TARGET_AMBIGUOUS')
  assert.equal(codeAt(snapshot, '/%2e%2e/secret'), 'TARGET_AMBIGUOUS')
  assert.equal(codeAt(snapshot, '/a/..%2f..%2fsecret'), 'TARGET_AMBIGUOUS')
})

test('only the plain spelling of the reserved path is reserved, other readings are refused', () => {
  assert.equal(isReservedTarget(parseTarget('/.sallyport/callback?code=1')), true)
  assert.equal(isReservedTarget(parseTarget('/.sallyportx/')), false)
  assert.equal(isReservedTarget(parseTarget('/a/.sallyport/')), false)
  for (const target of [
    '/.sallyport',
    '/%2esallyport/callback',
    '//.sallyport/callback',
    '/.SALLYPORT/callback',
    '/x/../.sallyport/callback',
    '/.sallyport;x/callback',
    '/.sallyport%2fcallback',
    '/%252esallyport/callback',
  ])
    assert.throws(() => isReservedTarget(parseTarget(target)), { code: 'TARGET_AMBIGUOUS' }, target)
})

test('a wildcard covers one label and never a system host', () => {
  const snapshot = snapshotOf(
    app('any', 'https://*.example.test/'),
    app('hr', 'https://hr.example.test/'),
  )
  assert.equal(nameAt(snapshot, 'wiki.example.test', '/'), 'any')
  assert.equal(findApplicationAt(snapshot, 'wiki.example.test', '/')?.label, 'wiki')
  assert.equal(nameAt(snapshot, 'hr.example.test', '/'), 'hr')
  for (const host of ['login', 'admin', 'apps', 'connect', 'a.b'])
    assert.equal(nameAt(snapshot, `${host}.example.test`, '/'), undefined)
})

test('the applications of a host are those that answer there, the shortest path first', () => {
  const snapshot = snapshotOf(
    app('deep', 'https://www.example.test/a/b/'),
    app('root', 'https://www.example.test/'),
    app('upper', 'https://www.example.test/A/'),
    app('any', 'https://*.example.test/x/'),
  )
  const at = (host: string) =>
    snapshot.findApplications(host).map(({ application }) => application.name)
  assert.deepEqual(at('www.example.test'), ['root', 'upper', 'deep'])
  assert.deepEqual(at('other.example.test'), ['any'])
  assert.deepEqual(at('login.example.test'), [])
  assert.deepEqual(at('elsewhere.test'), [])
})

test('a configuration is refused with all its problems at once', () => {
  const build = () =>
    snapshotOf(
      app('a', 'https://login.example.test/'),
      app('b', 'https://b.example.test:8443/'),
      app('c', 'https://c.example.test/x/'),
      app('d', 'https://c.example.test/X/'),
      app('e', 'https://e.example.test/', { preAuthentication: 'passthrough' }),
      app('f', 'https://e.example.test/f/'),
    )
  assert.throws(build, (error: unknown) => {
    assert.ok(error instanceof ConfigurationError)
    assert.deepEqual(
      error.problems.map(({ path }) => path),
      [
        'applications.a.externalUrl',
        'applications.b.externalUrl',
        'applications.d.externalUrl',
        'applications.e.preAuthentication',
      ],
    )
    return true
  })
})

test('a URL that is read otherwise than it is written is refused', () => {
  for (const externalUrl of [
    'http://hr.example.test/',
    'https://hr.example.test/a',
    'https://hr.example.test/a/../',
    'https://hr.example.test/%61/',
    'https://hr.example.test/a//b/',
    'https://hr.example.test/?x',
    'https://user@hr.example.test/',
    'https://hr_x.example.test/',
    'https://10.0.0.1/',
    'https://*.test/',
    'https://a.*.test/',
    'https://hr.example.test/.sallyport/',
    'hr',
  ])
    assert.throws(() => app('x', externalUrl), { name: /Zod/ }, externalUrl)
})

test('redirect URIs are exactly the callback of a host that the application publishes', () => {
  const hr = app('hr', 'https://hr.example.test/')
  const snapshot = snapshotOf(hr, app('wiki', 'https://wiki.example.test/'))
  const allowed = (uri: string) => snapshot.redirectUriAllowed(hr.application.id, uri)
  assert.equal(allowed('https://hr.example.test/.sallyport/callback'), true)
  for (const uri of [
    'https://wiki.example.test/.sallyport/callback',
    'https://hr.example.test/.sallyport/callback?x',
    'https://hr.example.test/.sallyport/callback/',
    'https://hr.example.test:8443/.sallyport/callback',
    'https://x@hr.example.test/.sallyport/callback',
    'http://hr.example.test/.sallyport/callback',
    'https://HR.example.test/.sallyport/callback',
    'https://hr.example.test/.sallyport/../.sallyport/callback',
    'https://hr.example.test\\.sallyport/callback',
    '//hr.example.test/.sallyport/callback',
  ])
    assert.equal(allowed(uri), false, uri)
})

test('the external prefix is replaced and the rest is forwarded as it was sent', () => {
  const { application } = app('hr', 'https://hr.example.test/hr/', {
    internalUrl: 'http://x/people/staff/',
  })
  const compiled = snapshotOf({ application, principalIds: [] }).findApplicationById(
    application.id,
  )!
  assert.equal(toInternalPath(compiled, '/hr/a%2Fb//c'), '/people/staff/a%2Fb//c')
  assert.equal(toInternalPath(compiled, '/hr'), '/people/staff')
  assert.equal(toInternalPath(compiled, '/hr/'), '/people/staff/')
})

test('sign-on headers are named once, and never like a header of HTTP or of the gateway', () => {
  const signOn = (...names: string[]) =>
    app('x', 'https://x.example.test/', {
      signOn: { method: 'headers', headers: names.map((name) => ({ name, claim: 'userName' })) },
    })
  assert.equal(signOn('X-User', 'Remote-User').application.signOn.method, 'headers')
  for (const names of [
    ['X-User', 'x-user'],
    ['Host'],
    ['Proxy'],
    ['content-length'],
    ['X-Forwarded-For'],
    ['X_User'],
    ['X User'],
    ['X-User:'],
    ['Cookie'],
    [''],
    [],
  ])
    assert.throws(() => signOn(...names), { name: /Zod/ }, names.join())
})

test('the names of identity headers of all applications are known in one spelling', () => {
  const headers = (...names: string[]) => ({
    signOn: {
      method: 'headers' as const,
      headers: names.map((name) => ({ name, value: 'x' })),
    },
  })
  const snapshot = snapshotOf(
    app('a', 'https://a.example.test/', headers('X-User', 'X-Mail')),
    app('b', 'https://b.example.test/', { preAuthentication: 'passthrough', ...headers('B-Id') }),
  )
  assert.deepEqual([...snapshot.identityHeaders].sort(), ['b-id', 'x-mail', 'x-user'])
})

test('no request can be for a linked application, whatever it asks for', () => {
  const { application } = app('hr', 'https://hr.example.test/')
  const linked = linkedApplicationSchema.parse({
    id: '00000000-0000-4000-8000-00000000aaaa',
    name: 'payroll',
    displayName: 'Payroll',
    linkedUrl: 'https://payroll.example.test/start?a=b#c',
  })
  const snapshot = compileSnapshot({
    applications: [
      { application, principalIds: [] },
      { application: linked, principalIds: ['ana'] },
    ],
    baseDomain: 'example.test',
    port: 443,
    version: 1,
  })
  assert.deepEqual(
    snapshot.links.map(({ application: { name }, assigned }) => [name, [...assigned]]),
    [['payroll', ['ana']]],
  )
  assert.deepEqual([...snapshot.applications.keys()], [application.id])
  assert.equal(snapshot.isPublishedHost('payroll.example.test'), false)
  for (const target of ['/', '/start', '/start?a=b', '/.sallyport/callback'])
    assert.equal(nameAt(snapshot, 'payroll.example.test', target), undefined)
  assert.equal(snapshot.findApplicationById(linked.id), undefined)
  assert.equal(
    snapshot.redirectUriAllowed(linked.id, 'https://payroll.example.test/.sallyport/callback'),
    false,
  )
})

test('names and IDs are unique over published and linked applications', () => {
  const { application } = app('hr', 'https://hr.example.test/')
  const linked = { id: application.id, name: 'hr', displayName: 'x', linkedUrl: 'https://x.test' }
  assert.throws(
    () =>
      compileSnapshot({
        applications: [
          { application, principalIds: [] },
          { application: linkedApplicationSchema.parse(linked), principalIds: [] },
        ],
        baseDomain: 'example.test',
        port: 443,
        version: 1,
      }),
    (error: ConfigurationError) =>
      error.problems.map(({ path }) => path).join() === 'applications.hr.name,applications.hr.id',
  )
})

test('a link leads to http or https and nowhere else', () => {
  const { linkedUrl } = linkedApplicationSchema.shape
  for (const good of [
    'https://a.example/',
    'http://intranet:8080/x?y=z#w',
    'HTTPS://a.example',
    'https://[2001:db8::1]/',
  ])
    assert.equal(linkedUrl.safeParse(good).success, true, good)
  for (const bad of [
    '',
    'javascript:alert(1)',
    ' javascript:alert(1)',
    'java\nscript:alert(1)',
    'data:text/html,x',
    'ftp://a.example/',
    '//a.example/',
    '/path',
    'https:a.example',
    'https:///a.example',
    'https:\\\\a.example',
    'https://user@a.example/',
    'https://user:secret@a.example/',
    'https://a.example/\u202e',
    ' https://a.example/',
    'https://a b/',
    `https://a.example/${'x'.repeat(2_048)}`,
  ])
    assert.equal(linkedUrl.safeParse(bad).success, false, bad)
})

test('people do not sign in by their connection where the connector signs them on', () => {
  const signOns: Record<string, ApplicationInput['signOn']> = {
    kerberos: { method: 'kerberos', kerberosServicePrincipalName: 'HTTP/hr.internal' },
    password: { method: 'password', kind: 'basic' },
    none: { method: 'none' },
    headers: { method: 'headers', headers: [{ name: 'X-User', claim: 'userName' }] },
  }
  const problemsOf = (signOn: ApplicationInput['signOn']) => {
    try {
      const more = { signOn, connectionAuthentication: true }
      snapshotOf(app('hr', 'https://hr.example.test/', more))
      return []
    } catch (error) {
      return (error as ConfigurationError).problems.map(({ path }) => path)
    }
  }
  for (const [method, signOn] of Object.entries(signOns))
    assert.deepEqual(
      problemsOf(signOn),
      ['kerberos', 'password'].includes(method) ? ['applications.hr.connectionAuthentication'] : [],
      method,
    )
})

test('messages of SAML by SOAP go to the application itself, by its internal or external address', () => {
  const problemsOf = (logoutSoapUrl: string) => {
    try {
      const signOn = {
        method: 'saml' as const,
        entityId: 'urn:hr',
        assertionConsumerServices: [{ url: 'https://hr.example.test/acs' }],
        logoutSoapUrl,
      }
      snapshotOf(app('hr', 'https://hr.example.test/', { signOn }))
      return []
    } catch (error) {
      return (error as ConfigurationError).problems.map(({ path }) => path)
    }
  }
  for (const url of ['https://hr.example.test/SLO/SOAP', 'http://hr.internal/SLO/SOAP'])
    assert.deepEqual(problemsOf(url), [], url)
  for (const url of ['https://wiki.example.test/SLO/SOAP', 'https://hr.internal.evil/SLO'])
    assert.deepEqual(problemsOf(url), ['applications.hr.signOn.logoutSoapUrl'], url)
})
