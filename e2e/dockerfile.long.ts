// Follows packaging/docker/Dockerfile without Docker: each FROM is a Debian made by debootstrap, each RUN a command in
// it. What only an engine does (layers, namespaces, volumes) is not looked at here.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import { startChild } from '@sallyport/cli'
import { findFreePort, lastFirst, type Scope } from '@sallyport/testkit'

const authorities = '/etc/ssl/certs/ca-certificates.crt'
const root = join(import.meta.dirname, '..')

interface Stage {
  folder: string
  name: string | undefined
  workdir: string
  user: string
  env: Record<string, string>
  command: string[]
}

function say(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** A machine that holds no more than Debian's image of the same name. */
function makeDebian(scope: Scope, dir: string, image: string): string {
  const [, suite] = /^debian:([a-z]+)-slim$/.exec(image) ?? assert.fail(`no such image: ${image}`)
  const folder = join(dir, `${suite}-${Math.random().toString(36).slice(2)}`)
  const base = join(dir, suite!)
  try {
    readFileSync(join(base, 'etc/debian_version'))
  } catch {
    say('/usr/sbin/debootstrap', '--variant=minbase', suite!, base)
  }
  say('cp', '-a', base, folder)
  cpSync('/etc/resolv.conf', join(folder, 'etc/resolv.conf'), { dereference: true })
  // Whom this machine trusts: there may be a mirror with a certificate of its own on the way to npm.
  cpSync(process.env.NODE_EXTRA_CA_CERTS ?? authorities, join(folder, 'tmp/authorities.pem'), {
    dereference: true,
  })
  for (const mount of ['proc', 'dev']) say('mount', '--bind', `/${mount}`, join(folder, mount))
  scope.after(() => {
    for (const mount of ['proc', 'dev']) say('umount', join(folder, mount))
  })
  return folder
}

function whileBuilding(stage: Stage): Stage {
  return { ...stage, env: { ...stage.env, NODE_EXTRA_CA_CERTS: '/tmp/authorities.pem' } }
}

function runIn(stage: Stage, command: readonly string[]): string {
  const [program, ...args] = toCommand(stage, command)
  return say(program!, ...args)
}

function toCommand({ folder, workdir, user, env }: Stage, command: readonly string[]): string[] {
  return [
    ...['chroot', `--userspec=${user}`, folder, 'env', '-i', '--chdir', workdir],
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
    ...command,
  ]
}

/** Instructions with their lines joined. */
function parse(text: string): [string, string][] {
  return text
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => line.match(/^([A-Z]+) (.*)$/)!.slice(1, 3) as [string, string])
}

function build(scope: Scope, dir: string): Stage {
  const stages: Stage[] = []
  for (const [instruction, rest] of parse(
    readFileSync(join(root, 'packaging/docker/Dockerfile'), 'utf8'),
  )) {
    const stage = stages.at(-1)!
    if (instruction === 'FROM') {
      const [image, , name] = rest.split(' ')
      stages.push({
        folder: makeDebian(scope, dir, image!),
        name,
        workdir: '/',
        user: 'root',
        env: {},
        command: [],
      })
    } else if (instruction === 'RUN') runIn(whileBuilding(stage), ['sh', '-c', rest])
    else if (instruction === 'WORKDIR') {
      stage.workdir = rest
      mkdirSync(join(stage.folder, rest), { recursive: true })
    } else if (instruction === 'USER') stage.user = `${rest}:${rest}`
    else if (instruction === 'ENV') stage.env[rest.split('=')[0]!] = rest.split('=')[1]!
    else if (instruction === 'CMD') stage.command = JSON.parse(rest)
    else if (instruction === 'COPY') copy(stages, stage, rest)
    else assert.ok(instruction === 'VOLUME' || instruction === 'EXPOSE', instruction)
  }
  return stages.at(-1)!
}

function copy(stages: readonly Stage[], stage: Stage, rest: string): void {
  const words = rest.split(' ')
  const from = /^--from=(.*)$/.exec(words[0]!)?.[1]
  const source = from === undefined ? root : stages.find(({ name }) => name === from)!.folder
  const sources = words.slice(from === undefined ? 0 : 1, -1)
  const target = words.at(-1)!
  const folder = join(stage.folder, target.startsWith('/') ? '' : stage.workdir, target)
  for (const name of sources) {
    const to = target.endsWith('/') ? join(folder, basename(name)) : folder
    mkdirSync(dirname(to), { recursive: true })
    // As the .dockerignore beside the Dockerfile has it.
    const isWanted = (path: string) => from !== undefined || basename(path) !== 'node_modules'
    cpSync(join(source, name), to, { recursive: true, verbatimSymlinks: true, filter: isWanted })
  }
}

test('the Dockerfile makes a machine on which both programs run as a user without rights', async (t) => {
  const scope = lastFirst(t)
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-docker-'))
  scope.after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }))
  const image = build(scope, dir)
  const port = await findFreePort()
  writeFileSync(
    join(image.folder, 'etc/sallyport/sallyport.yaml'),
    `baseDomain: sallyport.test\ndataDir: /var/lib/sallyport\nlisten: { address: 127.0.0.1, port: ${port} }\n`,
  )
  assert.match(runIn(image, ['sallyport', '--version']), /^\d+\.\d+\.\d+\n$/)
  assert.match(runIn(image, ['sallyport-connector', '--version']), /^\d+\.\d+\.\d+\n$/)
  assert.match(runIn(image, ['sallyport', 'user', 'create', 'ana']), /^user ana created/)
  const [command, ...args] = toCommand(image, image.command)
  const { child, ready } = await startChild({ name: 'service', command: command!, args }, 'ready')
  assert.equal(ready.port, port)
  await child.stop()
  assert.equal(await child.exited, 0, child.errorText)
  assert.equal(runIn(image, ['find', '/opt/sallyport', '-writable', '!', '-type', 'l']), '')
  assert.equal(runIn(image, ['stat', '-c', '%a %U', '/var/lib/sallyport/key']), '600 sallyport\n')
})
