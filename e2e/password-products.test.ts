// Sign-on by password to products as Debian ships them, which know nothing of Sallyport.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { findFreePort, lastFirst, type Scope, type System, startSystem } from '@sallyport/testkit'
import { enterPassword, trustKey } from './support/passwords.ts'
import { servePhp } from './support/php.ts'

const password = 'Grün & sicher 1'

function makeFolder(scope: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-product-'))
  scope.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function publish(
  scope: Scope,
  port: number,
  signOn: Record<string, unknown>,
  set: Record<string, unknown> = {},
): Promise<System> {
  const system = await startSystem(scope, {
    allow: [`127.0.0.1:${port}`],
    applications: [
      {
        name: 'product',
        internalUrl: `http://127.0.0.1:${port}/`,
        set: { signOn: { method: 'password', ...signOn }, ...set },
      },
    ],
  })
  for (const connector of system.connectors) await trustKey(system, connector)
  return system
}

/** DokuWiki, closed to everybody who has not signed in. */
async function startDokuWiki(scope: Scope): Promise<number> {
  const folder = makeFolder(scope)
  const root = join(folder, 'dokuwiki')
  const conf = join(folder, 'conf')
  const data = join(folder, 'data')
  cpSync('/usr/share/dokuwiki', root, { recursive: true, dereference: true })
  mkdirSync(conf)
  for (const name of [
    'dokuwiki.php',
    'acronyms.conf',
    'entities.conf',
    'interwiki.conf',
    'license.php',
    'manifest.json',
    'mediameta.php',
    'mime.conf',
    'plugins.php',
    'plugins.required.php',
    'scheme.conf',
    'smileys.conf',
    'wordblock.conf',
  ])
    cpSync(join('/etc/dokuwiki', name), join(conf, name))
  for (const name of ['attic', 'cache', 'index', 'locks', 'log', 'media', 'meta', 'pages', 'tmp'])
    mkdirSync(join(data, name), { recursive: true })
  for (const name of ['media_attic', 'media_meta']) mkdirSync(join(data, name))
  writeFileSync(join(data, 'pages', 'start.txt'), 'Inside the wiki.\n')
  writeFileSync(
    join(root, 'inc', 'preload.php'),
    `<?php\ndefine('DOKU_CONF', ${JSON.stringify(`${conf}/`)});\n`,
  )
  writeFileSync(
    join(conf, 'local.php'),
    `<?php\n$conf['savedir'] = ${JSON.stringify(data)};\n$conf['useacl'] = 1;\n$conf['title'] = 'Wiki';\n`,
  )
  writeFileSync(join(conf, 'acl.auth.php'), '*\t@ALL\t0\n*\t@user\t8\n')
  const hash = execFileSync('php', [
    '-r',
    'echo password_hash($argv[1], PASSWORD_BCRYPT);',
    password,
  ])
  writeFileSync(join(conf, 'users.auth.php'), `ana:${hash}:Ana Inside:ana@example.test:user\n`)
  return (await servePhp(scope, root)).port
}

/** MediaWiki on SQLite, closed to everybody who has not signed in. */
async function startMediaWiki(scope: Scope): Promise<number> {
  const folder = makeFolder(scope)
  const root = '/usr/share/mediawiki'
  const settings = join(folder, 'LocalSettings.php')
  // The product writes its own address into redirects.
  const port = await findFreePort()
  execFileSync(
    'php',
    [
      join(root, 'maintenance', 'install.php'),
      ...['--dbtype', 'sqlite', '--dbpath', join(folder, 'db'), '--confpath', folder],
      ...['--server', `http://127.0.0.1:${port}`, '--scriptpath', '', '--pass', password],
      ...['Wiki', 'Ana'],
    ],
    { stdio: 'ignore' },
  )
  appendFileSync(
    settings,
    `\n$wgGroupPermissions['*']['read'] = false;\n$wgCacheDirectory = ${JSON.stringify(folder)};\n`,
  )
  await servePhp(scope, root, { MW_CONFIG_FILE: settings }, port)
  return port
}

test('DokuWiki from Debian: its form is found, filled in with its token, and done again after signing out', async (t) => {
  const scope = lastFirst(t)
  const port = await startDokuWiki(scope)
  const system = await publish(scope, port, {
    kind: 'form',
    signInPage: '/doku.php?id=start&do=login',
  })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'ana', password)
  const page = await ana.open(system.url('product', '/doku.php?id=start'))
  assert.match(page.body, /Inside the wiki\./)
  assert.match(page.body, /Ana Inside/)
  assert.doesNotMatch(page.body, /type="password"/)

  ana.cookies.get(system.host('product'))?.forEach((_, name, all) => {
    if (!name.startsWith('__Host-sallyport')) all.set(name, 'ended')
  })
  const again = await ana.open(system.url('product', '/doku.php?id=start'))
  assert.match(again.body, /Ana Inside/)
})

test('DokuWiki from Debian: a wrong password leads to "Your passwords", and is tried once', async (t) => {
  const scope = lastFirst(t)
  const port = await startDokuWiki(scope)
  const system = await publish(scope, port, {
    kind: 'form',
    signInPage: '/doku.php?id=start&do=login',
  })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'ana', 'wrong')
  assert.match((await ana.open(system.url('product'))).body, /The application did not take it/)
})

test('MediaWiki from Debian: its form is found among others, and deep links survive the sign-in', async (t) => {
  const scope = lastFirst(t)
  const port = await startMediaWiki(scope)
  const system = await publish(scope, port, {
    kind: 'form',
    signInPage: '/index.php/Special:UserLogin',
  })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'Ana', password)
  const page = await ana.open(system.url('product', '/index.php?title=Special:Version'))
  assert.match(page.body, /<title>Version/)
  assert.match(page.body, /"wgUserName":"Ana"/)
  const wrong = await system.signIn('ben')
  await enterPassword(wrong, system, 'product', 'Ana', 'not this one')
  assert.match((await wrong.open(system.url('product'))).body, /The application did not take it/)
})

test('Apache from Debian with mod_auth_basic: everybody comes in as who they are there', async (t) => {
  const scope = lastFirst(t)
  const folder = makeFolder(scope)
  const port = await findFreePort()
  mkdirSync(join(folder, 'htdocs'))
  writeFileSync(join(folder, 'htdocs', 'index.html'), 'behind Basic')
  execFileSync('htpasswd', ['-cbB', join(folder, 'passwords'), 'ana', password], {
    stdio: 'ignore',
  })
  writeFileSync(
    join(folder, 'apache.conf'),
    `ServerRoot "${folder}"
ServerName localhost
Listen 127.0.0.1:${port}
PidFile "${folder}/pid"
ErrorLog "${folder}/error.log"
${[
  'mpm_event',
  'authn_core',
  'authn_file',
  'authz_core',
  'authz_user',
  'auth_basic',
  'dir',
  'headers',
]
  .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`)
  .join('\n')}
DocumentRoot "${folder}/htdocs"
DirectoryIndex index.html
<Location "/">
  AuthType Basic
  AuthName "inside"
  AuthUserFile "${folder}/passwords"
  Require valid-user
</Location>
Header set X-User "expr=%{REMOTE_USER}"
`,
  )
  const apache = spawn('apache2', ['-f', join(folder, 'apache.conf'), '-DFOREGROUND'], {
    stdio: 'ignore',
  })
  scope.after(async () => {
    const gone = once(apache, 'exit')
    apache.kill('SIGTERM')
    await gone
  })
  await listening(port, apache)
  const system = await publish(scope, port, { kind: 'basic' })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'ana', password)
  const page = await ana.open(system.url('product'))
  assert.equal(page.body, 'behind Basic')
  assert.equal(page.headers['x-user'], 'ana')
  await enterPassword(ana, system, 'product', 'ana', 'wrong')
  const refused = await ana.open(system.url('product'))
  assert.match(refused.body, /The application did not take it/)
})

/** Resolves when the port answers; a program that ends before that is an error. */
async function listening(port: number, child: ReturnType<typeof spawn>): Promise<void> {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the program ended with ${code}`)
  })
  const answered = (async () => {
    for (;;) {
      const socket = connect(port, '127.0.0.1')
      const [outcome] = await Promise.race([
        once(socket, 'connect').then(() => ['open']),
        once(socket, 'error').then(() => ['closed']),
      ]).catch(() => ['closed'])
      socket.destroy()
      if (outcome === 'open') return
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  await Promise.race([answered, ended])
  ended.catch(() => {})
}
