// Debian packages for tests and measurements. CommonJS that Node 18 runs, as install.cjs.
'use strict'

const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

// A tool is there when its file is: another package or another distribution may have brought it.
const DEBIAN_PACKAGES = {
  'apache2-bin': 'apache2',
  'apache2-utils': 'htpasswd',
  chromium: 'chromium',
  curl: 'curl',
  debootstrap: 'debootstrap',
  dokuwiki: '/usr/share/dokuwiki/doku.php',
  'fonts-liberation': '/usr/share/fonts/truetype/liberation',
  'gss-ntlmssp': '/etc/gss/mech.d/mech.ntlmssp.conf',
  iproute2: 'ip',
  'krb5-admin-server': 'kadmin.local',
  'krb5-kdc': 'krb5kdc',
  'krb5-user': 'kvno',
  'libapache2-mod-auth-gssapi': '/usr/lib/apache2/modules/mod_auth_gssapi.so',
  // The module, and Apache with it.
  'libapache2-mod-auth-mellon': '/usr/lib/apache2/modules/mod_auth_mellon.so',
  // The path of a library has the machine's name in it.
  'libgssapi-krb5-2': '/usr/share/doc/libgssapi-krb5-2',
  // The module, and its daemon with it.
  'libapache2-mod-shib': '/usr/lib/apache2/modules/mod_shib.so',
  'libapache2-mod-auth-openidc': '/usr/lib/apache2/modules/mod_auth_openidc.so',
  logrotate: 'logrotate',
  mediawiki: '/usr/share/mediawiki/index.php',
  nftables: 'nft',
  'nginx-light': 'nginx',
  'openssh-server': 'sshd',
  openssl: 'openssl',
  'php-cli': 'php',
  // Packages that only name the ones of a version.
  'php-intl': '/usr/share/doc/php-intl',
  'php-mbstring': '/usr/share/doc/php-mbstring',
  'php-sqlite3': '/usr/share/doc/php-sqlite3',
  'php-xml': '/usr/share/doc/php-xml',
  // Beside the server, and not beside its clients.
  postgresql: 'pg_ctlcluster',
  procps: 'ps',
  'python3-gssapi': '/usr/lib/python3/dist-packages/gssapi',
  // The first whose KDC knows resource-based delegation, as far as we have tried.
  'samba-ad-dc': { file: 'samba', least: '4.22' },
  'samba-ad-provision': { file: '/usr/share/samba/setup/provision.ldif', least: '4.22' },
  squid: 'squid',
  systemd: 'systemd-analyze',
  wrk: 'wrk',
  xmlsec1: 'xmlsec1',
}

const TEST_PACKAGES = [
  'chromium',
  'nginx-light',
  'squid',
  'nftables',
  'iproute2',
  'openssl',
  'logrotate',
  'systemd',
  'curl',
  'postgresql',
  'procps',
  'fonts-liberation',
  'samba-ad-dc',
  'samba-ad-provision',
  'krb5-user',
  'libgssapi-krb5-2',
  'krb5-kdc',
  'krb5-admin-server',
  'apache2-bin',
  'libapache2-mod-auth-gssapi',
  'gss-ntlmssp',
  'python3-gssapi',
  'apache2-utils',
  'php-cli',
  'php-xml',
  'php-mbstring',
  'php-intl',
  'php-sqlite3',
  'dokuwiki',
  'mediawiki',
  'libapache2-mod-auth-mellon',
  'libapache2-mod-shib',
  'libapache2-mod-auth-openidc',
  'xmlsec1',
]

/** What the long tests need beside. */
const LONG_TEST_PACKAGES = ['debootstrap']

/**
 * Makes Debian packages available: installs the missing ones as root, otherwise names them.
 *
 * @param {string[]} names keys of DEBIAN_PACKAGES
 * @throws {Error} `PACKAGES_MISSING` when they are missing and cannot be installed
 */
function installDebianPackages(names) {
  const missing = names.filter((name) => !isUsable(name))
  if (missing.length === 0) return
  const list = missing.join(' ')
  const canInstall = process.getuid?.() === 0 && isPresent('apt-get')
  if (!canInstall) {
    const tooOld = missing.filter((name) => leastVersion(name) !== undefined)
    const hint = tooOld
      .map(
        (name) =>
          `\n  ${name} must be ${leastVersion(name)} or later; Debian 12 has it in backports`,
      )
      .join('')
    throw failure(
      'PACKAGES_MISSING',
      `missing: ${list}\n  As root on Debian: apt-get install --no-install-recommends ${list}${hint}`,
    )
  }
  console.log(`Installing Debian packages: ${list}`)
  withoutStartingServices(() => {
    apt(['update'])
    const backported = missing.filter(isTooOldHere)
    if (backported.length > 0) withBackports((options) => aptInstall(backported, options))
    aptInstall(missing.filter((name) => !backported.includes(name)))
  })
  const still = missing.filter((name) => !isUsable(name))
  if (still.length > 0) {
    throw failure('PACKAGES_MISSING', `installed, yet not found: ${still.join(' ')}`)
  }
}

function apt(args, options = []) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const all = ['-qq', '-o', 'Acquire::Retries=3', ...options, ...args]
  const result = spawnSync('apt-get', all, { env, stdio: ['ignore', 'inherit', 'inherit'] })
  if (result.status === 0) return
  throw failure('PACKAGES_MISSING', `apt-get ${args.join(' ')} did not succeed`)
}

function aptInstall(names, options = []) {
  if (names.length === 0) return
  apt(['-y', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', 'install', ...names], options)
}

/** Whether what this release of Debian offers is older than what we need. */
function isTooOldHere(name) {
  const least = leastVersion(name)
  if (least === undefined) return false
  const { stdout } = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' })
  const offered = /Candidate: (?:\d+:)?(\S+)/.exec(stdout)?.[1]
  return offered === undefined || compareVersions(offered, least) < 0
}

/** Backports are reached by a list of sources of our own: those of the machine stay as they are. */
function withBackports(install) {
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(fs.readFileSync('/etc/os-release', 'utf8'))?.[1]
  if (release === undefined) throw failure('PACKAGES_MISSING', 'this is no release of Debian')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sallyport-apt-'))
  try {
    // apt itself reads there as another user.
    fs.chmodSync(folder, 0o755)
    fs.cpSync('/etc/apt/sources.list.d', path.join(folder, 'sources'), { recursive: true })
    fs.mkdirSync(path.join(folder, 'lists/partial'), { recursive: true })
    const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
    fs.writeFileSync(
      path.join(folder, 'sources/sallyport-backports.list'),
      `deb [signed-by=${keyring}] http://deb.debian.org/debian ${release}-backports main\n`,
    )
    const options = [
      ['-o', `Dir::Etc::sourceparts=${path.join(folder, 'sources')}`],
      ['-o', `Dir::State::lists=${path.join(folder, 'lists')}`],
    ].flat()
    apt(['update'], options)
    install([...options, '-t', `${release}-backports`])
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

// Debian starts a server when it installs one. The tests want the programs, not nginx on port 80.
function withoutStartingServices(install) {
  const policy = '/usr/sbin/policy-rc.d'
  const ours = !fs.existsSync(policy)
  if (ours) fs.writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    install()
  } finally {
    if (ours) fs.rmSync(policy)
  }
}

function isUsable(name) {
  const wanted = DEBIAN_PACKAGES[name]
  if (typeof wanted === 'string') return isPresent(wanted)
  if (!isPresent(wanted.file)) return false
  const query = spawnSync('dpkg-query', ['-W', '-f', `\${Version}`, name], { encoding: 'utf8' })
  const found = query.status === 0 ? query.stdout.replace(/^\d+:/, '') : ''
  return found !== '' && compareVersions(found, wanted.least) >= 0
}

function leastVersion(name) {
  return DEBIAN_PACKAGES[name].least
}

/** By the numbers at their beginning, as many as `b` has. */
function compareVersions(a, b) {
  const [first, second] = [a, b].map((version) => version.match(/\d+/g).map(Number))
  const differs = second.findIndex((part, at) => part !== first[at])
  return differs === -1 ? 0 : (first[differs] ?? 0) - second[differs]
}

// Servers live in /usr/sbin, which is not on everybody's PATH.
function isPresent(file) {
  if (path.isAbsolute(file)) return fs.existsSync(file)
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin']
  return folders.some((folder) => folder !== '' && fs.existsSync(path.join(folder, file)))
}

function failure(code, message) {
  return Object.assign(new Error(message), { code })
}

module.exports = { LONG_TEST_PACKAGES, TEST_PACKAGES, failure, installDebianPackages }
