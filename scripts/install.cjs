// Brings a clone to the point where TypeScript can take over: packages, Debian packages, Node 24.
// CommonJS that Node 18 runs, because this is what finds and starts the pinned Node.
'use strict'

const { spawn, spawnSync } = require('node:child_process')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const {
  failure,
  installDebianPackages,
  LONG_TEST_PACKAGES,
  TEST_PACKAGES,
} = require('./debian.cjs')

const ROOT = path.resolve(__dirname, '..')
const STAMP = path.join('node_modules', '.sallyport-install')

/**
 * Runs `npm ci` unless node_modules already holds what package-lock.json says.
 *
 * @param {string} root folder of package.json
 * @returns {boolean} whether anything was installed
 * @throws {Error} `INSTALL_FAILED` when npm does not succeed
 */
function installPackages(root = ROOT) {
  const stampFile = path.join(root, STAMP)
  const stamp = stampOf(root)
  if (readIfThere(stampFile) === stamp) return false
  const needed = !installedByHand(root)
  if (needed) {
    console.log('Installing npm packages (npm ci)')
    const args = ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
    // `npm start` may itself run on the pinned node, which npm ci is about to delete and put back.
    const { npm_execpath: cli, npm_node_execpath: node = process.execPath } = process.env
    const [command, first] = cli?.endsWith('npm-cli.js') ? [node, [cli]] : ['npm', []]
    const result = spawnSync(command, [...first, ...args], { cwd: root, stdio: 'inherit' })
    if (result.status !== 0) {
      const reason = result.error ? `: ${result.error.message}` : ''
      throw failure('INSTALL_FAILED', `npm ci did not succeed in ${root}${reason}`)
    }
  }
  fs.mkdirSync(path.dirname(stampFile), { recursive: true })
  linkNode(root)
  fs.writeFileSync(stampFile, stamp)
  return needed
}

// npm 9 (Debian 12 has it) installs the pinned Node and then removes its link, together with that of
// the Node for another machine which it left out.
function linkNode(root) {
  const name = `node-${process.platform}-${process.arch}`
  const link = path.join(root, 'node_modules', '.bin', 'node')
  if (!fs.existsSync(path.join(root, 'node_modules', name)) || fs.existsSync(link)) return
  fs.mkdirSync(path.dirname(link), { recursive: true })
  fs.rmSync(link, { force: true })
  fs.symlinkSync(path.join('..', name, 'bin', 'node'), link)
}

// The platform belongs to it: a folder shared with a container may hold the other one's binaries.
function stampOf(root) {
  const lock = fs.readFileSync(path.join(root, 'package-lock.json'))
  const hash = createHash('sha256').update(lock).digest('hex')
  return `${hash} ${process.platform}-${process.arch}\n`
}

// After an `npm install` by a developer npm's own record agrees with the lock: nothing to redo.
function installedByHand(root) {
  const record = readIfThere(path.join(root, 'node_modules', '.package-lock.json'))
  if (record === undefined) return false
  const installed = JSON.parse(record).packages
  const lock = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages
  return Object.entries(lock).every(([where, wanted]) => {
    if (where === '') return true
    const found = installed[where]
    if (found === undefined) return wanted.optional === true && !onlyForThisMachine(wanted)
    return found.version === wanted.version && found.integrity === wanted.integrity
  })
}

function onlyForThisMachine(wanted) {
  if (wanted.os === undefined && wanted.cpu === undefined) return false
  const fits = (list, value) => {
    const names = list === undefined ? [value] : [list].flat()
    return names.includes(value) || names.some((name) => name[0] === '!' && name !== `!${value}`)
  }
  // Only asked to save an installation: taking musl for glibc costs one more, once.
  return (
    fits(wanted.os, process.platform) &&
    fits(wanted.cpu, process.arch) &&
    fits(wanted.libc, 'glibc')
  )
}

/**
 * @param {string} root folder that holds node_modules
 * @returns {string} path of a Node that runs our TypeScript: the pinned one, else the current
 * @throws {Error} `NODE_TOO_OLD` when there is neither
 */
function findNode(root = ROOT) {
  const pinned = path.join(root, 'node_modules', '.bin', 'node')
  // It is asked, not only looked for: a glibc binary is a file on musl too.
  if (spawnSync(pinned, ['--version'], { stdio: 'ignore' }).status === 0) return pinned
  if (Number.parseInt(process.versions.node, 10) >= 24) return process.execPath
  throw failure(
    'NODE_TOO_OLD',
    `there is no pinned Node for ${os.platform()}-${os.arch()}, and this is Node ${process.versions.node}: install Node 24 or later`,
  )
}

/**
 * Runs a program in the foreground. Signals sent to this process reach it; while it runs they do
 * not end this process, so that the program decides when all is over.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{ root?: string, cwd?: string, env?: Record<string, string> }} options
 * @returns {Promise<number>} its exit code; 128 and the signal's number if a signal ended it
 */
function launch(command, args, { root = ROOT, cwd = root, env = {} } = {}) {
  // Shebangs say `node`: whatever we start, and whatever that starts, gets the pinned one.
  const bin = path.join(root, 'node_modules', '.bin')
  const PATH = [bin, process.env.PATH].filter(Boolean).join(path.delimiter)
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      stdio: 'inherit',
      env: { ...process.env, ...env, PATH },
    })
    const forward = (signal) => child.kill(signal)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward)
    const done = () => {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(signal, forward)
    }
    child.once('error', (error) => {
      done()
      reject(error)
    })
    child.once('exit', (code, signal) => {
      done()
      resolve(code ?? 128 + (os.constants.signals[signal] ?? 0))
    })
  })
}

/** Runs `main` and turns what it throws into one line and exit code 1. */
async function runMain(main) {
  try {
    process.exitCode = await main()
  } catch (error) {
    console.error(error.code === undefined ? error : `error: ${error.message}`)
    process.exitCode = 1
  }
}

function readIfThere(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

module.exports = {
  LONG_TEST_PACKAGES,
  ROOT,
  TEST_PACKAGES,
  findNode,
  installDebianPackages,
  installPackages,
  launch,
  runMain,
}
