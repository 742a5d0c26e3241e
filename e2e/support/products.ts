// Products as Debian ships them, which know nothing of Sallyport, each with one account: `productPassword` is its password.
import { execFileSync } from 'node:child_process'
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  Apache,
  findFreePort,
  pageModules,
  type Scope,
  writeApplicationPage,
} from '@sallyport/testkit'
import { servePhp } from './php.ts'

export const productPassword = 'Grün & sicher 1'

function makeFolder(scope: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-product-'))
  scope.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const handbook = `====== Handbook ======
Inside the wiki. What everybody has to know in their first week.

===== First day =====
  * Keys and badge: porter, room 0.12
  * Desk and telephone: ask your mentor
===== Safety =====
The door to the loading bay stays shut while the crane moves.
`

const mainPage = `What we know about the things that we build.

{| class="wikitable"
! Series !! Drawing !! State
|-
| Door closer 40 || DC-40 rev. F || in production
|-
| Lock cylinder 7 || LC-07 rev. C || in trial
|}
`

/** DokuWiki, closed to everybody who has not signed in. */
export async function startDokuWiki(scope: Scope): Promise<number> {
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
  writeFileSync(join(data, 'pages', 'start.txt'), handbook)
  writeFileSync(
    join(root, 'inc', 'preload.php'),
    `<?php\ndefine('DOKU_CONF', ${JSON.stringify(`${conf}/`)});\n`,
  )
  writeFileSync(
    join(conf, 'local.php'),
    `<?php\n$conf['savedir'] = ${JSON.stringify(data)};\n$conf['useacl'] = 1;\n$conf['title'] = 'Handbook';\n`,
  )
  writeFileSync(join(conf, 'acl.auth.php'), '*\t@ALL\t0\n*\t@user\t8\n')
  const hash = execFileSync('php', [
    '-r',
    'echo password_hash($argv[1], PASSWORD_BCRYPT);',
    productPassword,
  ])
  writeFileSync(join(conf, 'users.auth.php'), `ana:${hash}:Ana Inside:ana@example.test:user\n`)
  return (await servePhp(scope, root)).port
}

/** MediaWiki on SQLite, closed to everybody who has not signed in. */
export async function startMediaWiki(scope: Scope): Promise<number> {
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
      ...['--server', `http://127.0.0.1:${port}`, '--scriptpath', '', '--pass', productPassword],
      ...['Wiki', 'Ana'],
    ],
    { stdio: 'ignore' },
  )
  const env = { MW_CONFIG_FILE: settings }
  appendFileSync(
    settings,
    `\n$wgLogos = ["1x" => "/resources/assets/mediawiki.png"];\n$wgUseRCPatrol = false;$wgUseNPPatrol = false;\n$wgGroupPermissions['*']['read'] = false;\n$wgCacheDirectory = ${JSON.stringify(folder)};\n`,
  )
  execFileSync('php', [join(root, 'maintenance', 'edit.php'), '-u', 'Ana', 'Main_Page'], {
    input: mainPage,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  await servePhp(scope, root, env, port)
  return port
}

/** Apache with mod_auth_basic, which knows ana. @returns its port */
export async function startBasicApplication(scope: Scope): Promise<number> {
  const apache = Apache.create(scope, 'basic')
  const { dir } = apache
  const port = await findFreePort()
  const site = writeApplicationPage(dir, {
    title: 'Warehouse',
    heading: 'Stock, counted by',
    table: [
      ['Part', 'Shelf', 'In stock', 'Ordered'],
      ['Hinge, brass', 'B-14', '312', '-'],
      ['Door closer', 'C-02', '48', '120'],
      ['Lock cylinder', 'C-07', '96', '-'],
    ],
  })
  execFileSync('htpasswd', ['-cbB', join(dir, 'passwords'), 'ana', productPassword], {
    stdio: 'ignore',
  })
  apache.configure({
    modules: ['authn_file', 'authz_user', 'auth_basic', ...pageModules, 'headers'],
    lines: `ServerName localhost
Listen 127.0.0.1:${port}
${site}
<Location />
AuthType Basic
AuthName inside
AuthUserFile ${dir}/passwords
Require valid-user
</Location>
Header set X-User "expr=%{REMOTE_USER}"`,
  })
  await apache.run()
  return port
}
