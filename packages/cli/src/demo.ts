import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Execute } from './demo-processes.ts'
import { CommandError } from './failure.ts'

/** What the demo keeps between starts, in `demo.json`, readable by its owner only. */
export interface DemoFacts {
  users: { userName: string; displayName: string; password: string; note: string }[]
  /** Ports on 127.0.0.1 of the sample applications. */
  ports: { intranet: number; nodeRed: number }
}

const people = [
  { userName: 'ana', displayName: 'Ana Lindqvist', note: 'may use both applications' },
  { userName: 'ben', displayName: 'Ben Okafor', note: 'may use the intranet' },
  { userName: 'eve', displayName: 'Eve Marchetti', note: 'is assigned to nothing' },
]

/** Reads what earlier starts left, or makes it. Passwords are random. */
export async function readDemoFacts(dataDir: string): Promise<DemoFacts> {
  const file = join(dataDir, 'demo.json')
  const kept = readKept(file)
  const facts: DemoFacts = {
    users:
      kept?.users ??
      people.map((person) => ({ ...person, password: randomBytes(9).toString('base64url') })),
    ports: {
      intranet: await findFreePort(kept?.ports.intranet),
      nodeRed: await findFreePort(kept?.ports.nodeRed),
    },
  }
  const part = `${file}.part`
  writeFileSync(part, `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o600 })
  renameSync(part, file)
  return facts
}

function readKept(file: string): DemoFacts | undefined {
  if (!existsSync(file)) return undefined
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as DemoFacts
  } catch {
    throw new CommandError(
      `${file}: is damaged`,
      'remove the folder that it lies in, and begin anew',
    )
  }
}

/** The wanted port if it is free, else any. */
async function findFreePort(wanted = 0): Promise<number> {
  const server = createServer()
  const port = await new Promise<number>((resolve) => {
    server.once('error', () => resolve(0))
    server.listen(wanted, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })
  await new Promise((resolve) => server.close(resolve))
  return port === 0 ? findFreePort() : port
}

/** The applications that the demo publishes. */
export function demoApplications(url: (name: string) => string, facts: DemoFacts) {
  return [
    {
      name: 'intranet',
      displayName: 'Intranet',
      externalUrl: url('intranet'),
      internalUrl: `http://127.0.0.1:${facts.ports.intranet}/`,
      signOn: {
        method: 'headers',
        headers: [
          { name: 'X-User', claim: 'userName' },
          { name: 'X-User-Name', claim: 'displayName' },
          { name: 'X-User-Mail', claim: 'mail' },
          { name: 'X-User-Id', claim: 'objectId' },
          { name: 'X-User-Groups', claim: 'groups' },
        ],
      },
      group: 'staff',
    },
    {
      name: 'node-red',
      displayName: 'Node-RED',
      externalUrl: url('node-red'),
      internalUrl: `http://127.0.0.1:${facts.ports.nodeRed}/`,
      group: 'makers',
    },
  ]
}

/** Makes the service hold the demo's users, groups and applications; what is there already stays. */
export async function provisionDemo(
  execute: Execute,
  facts: DemoFacts,
  url: (name: string) => string,
  mailDomain: string,
): Promise<void> {
  const names = async (command: string, key: string) =>
    new Set(((await execute(command, {})) as Record<string, string>[]).map((row) => row[key]!))
  const users = await names('user.list', 'userName')
  for (const { userName, displayName, password } of facts.users)
    if (!users.has(userName))
      await execute('user.create', {
        userName,
        displayName,
        password,
        mail: `${userName}@${mailDomain}`,
      })
  const groups = await names('group.list', 'name')
  for (const [name, members] of [
    ['staff', ['ana', 'ben']],
    ['makers', ['ana']],
  ] as const) {
    if (groups.has(name)) continue
    await execute('group.create', { name })
    for (const user of members) await execute('group.add-member', { group: name, user })
  }
  const applications = await names('app.list', 'name')
  for (const { group, ...application } of demoApplications(url, facts)) {
    if (applications.has(application.name)) {
      const { name, internalUrl, externalUrl } = application
      await execute('app.update', { name, set: { internalUrl, externalUrl } })
    } else {
      await execute('app.create', application)
      await execute('app.assign', { name: application.name, group })
    }
  }
}
