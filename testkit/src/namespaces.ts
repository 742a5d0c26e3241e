import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import type { Scope } from './scope.ts'

let count = 0

/** A network namespace: a host of its own on this machine. Needs root. */
export class Namespace {
  readonly name: string

  private constructor(name: string) {
    this.name = name
  }

  /** @param hosts lines of its `/etc/hosts`, address first */
  static create(scope: Scope, label: string, hosts: readonly string[]): Namespace {
    count += 1
    const namespace = new Namespace(`sp${process.pid % 100_000}${label}${count}`)
    run('ip', 'netns', 'add', namespace.name)
    // `ip netns exec` puts these files over /etc.
    const etc = `/etc/netns/${namespace.name}`
    mkdirSync(etc, { recursive: true })
    writeFileSync(`${etc}/hosts`, ['127.0.0.1 localhost', ...hosts, ''].join('\n'))
    writeFileSync(`${etc}/resolv.conf`, '')
    scope.after(() => {
      run('ip', 'netns', 'delete', namespace.name)
      rmSync(etc, { recursive: true, force: true })
    })
    namespace.run('ip', 'link', 'set', 'lo', 'up')
    return namespace
  }

  /** Runs a command inside to its end. @returns what it printed */
  run(...command: string[]): string {
    return run('ip', 'netns', 'exec', this.name, ...command)
  }

  /** Command and arguments that run another command inside. */
  wrap(command: string, args: readonly string[]): { command: string; args: string[] } {
    return { command: 'ip', args: ['netns', 'exec', this.name, command, ...args] }
  }

  /** Drops every connection that somebody else begins. */
  dropInbound(): void {
    this.run(
      'nft',
      'add table inet guard; add chain inet guard input { type filter hook input priority 0; policy drop; }; add rule inet guard input ct state established,related accept; add rule inet guard input iif lo accept',
    )
  }

  /** TCP and UDP sockets that listen on anything but nothing, as `ss` lists them. */
  listening(): string[] {
    return this.run('ss', '-H', '-l', '-n', '-t', '-u', '-p')
      .split('\n')
      .filter((line) => line.trim() !== '')
  }
}

/** Joins two namespaces by a cable. @param addresses such as `10.203.1.1/24`, one for each end */
export function link(a: Namespace, addressA: string, b: Namespace, addressB: string): void {
  count += 1
  const [endA, endB] = [`va${process.pid % 10_000}${count}`, `vb${process.pid % 10_000}${count}`]
  run(
    'ip',
    'link',
    'add',
    endA,
    'netns',
    a.name,
    'type',
    'veth',
    'peer',
    'name',
    endB,
    'netns',
    b.name,
  )
  for (const [namespace, end, address] of [
    [a, endA, addressA],
    [b, endB, addressB],
  ] as const) {
    namespace.run('ip', 'address', 'add', address, 'dev', end)
    namespace.run('ip', 'link', 'set', end, 'up')
  }
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8' })
}
