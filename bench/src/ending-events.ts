// Everything that ends or narrows access (docs/decisions/0002-sessions.md) and that somebody does.
import type { Execute } from '@sallyport/cli'
import { Client, navigation } from '@sallyport/testkit'
import { PASSWORD, signInAt, submitPassword } from './sallyport.ts'

/** One application, one person who is in it, and one browser; nobody else uses any of them. */
export interface Trial {
  /** Of the user, of the application, and with a suffix of groups. */
  name: string
  execute: Execute
  /** Origins without a slash at the end. */
  appUrl: string
  loginUrl: string
  browser: Client
}

export interface Ending {
  name: string
  /** With what requests are refused after it. */
  status: number
  /** Lets the person in; assigns the user unless given. */
  allow?(trial: Trial): Promise<void>
  /** Resolves when the change is acknowledged. */
  end(trial: Trial): Promise<unknown>
}

// Of groups in groups, for the change that is felt at the other end of them.
const DEPTH = 10

export const ENDINGS: readonly Ending[] = [
  { name: 'sign-out at the application', status: 401, end: signOutAtApplication },
  { name: 'sign-out at `login.`', status: 401, end: signOutAtLogin },
  { name: 'new sign-in in the same browser', status: 401, end: signInAgain },
  { name: 'ended from another browser', status: 401, end: endFromElsewhere },
  { name: '`session end`', status: 401, end: endSession },
  {
    name: '`session end-all`',
    status: 401,
    end: ({ execute, name }) => execute('session.end-all', { userName: name }),
  },
  {
    name: '`user disable`',
    status: 401,
    end: ({ execute, name }) => execute('user.disable', { userName: name }),
  },
  {
    name: '`user delete`',
    status: 401,
    end: ({ execute, name }) => execute('user.delete', { userName: name }),
  },
  {
    name: '`user set-password`',
    status: 401,
    end: ({ execute, name }) =>
      execute('user.set-password', { userName: name, password: `${PASSWORD}, red` }),
  },
  {
    name: '`group remove` of the user',
    status: 403,
    allow: (trial) => assignGroups(trial, 1),
    end: ({ execute, name }) =>
      execute('group.remove-member', { group: groupName(name, 0), user: name }),
  },
  {
    name: `\`group remove\`, ${DEPTH} groups deep`,
    status: 403,
    allow: (trial) => assignGroups(trial, DEPTH),
    end: ({ execute, name }) =>
      execute('group.remove-member', {
        group: groupName(name, 0),
        memberGroup: groupName(name, 1),
      }),
  },
  {
    name: '`group delete`',
    status: 403,
    allow: (trial) => assignGroups(trial, 1),
    end: ({ execute, name }) => execute('group.delete', { name: groupName(name, 0) }),
  },
  {
    name: '`app unassign` of the user',
    status: 403,
    end: ({ execute, name }) => execute('app.unassign', { name, user: name }),
  },
  {
    name: '`app unassign` of a group',
    status: 403,
    allow: (trial) => assignGroups(trial, DEPTH),
    end: ({ execute, name }) => execute('app.unassign', { name, group: groupName(name, 0) }),
  },
  {
    name: '`app update` of the external URL',
    status: 404,
    end: ({ execute, name, appUrl }) =>
      execute('app.update', {
        name,
        set: { externalUrl: `${appUrl.replace('//', '//moved-')}/` },
      }),
  },
  {
    name: '`app delete`',
    status: 404,
    end: ({ execute, name }) => execute('app.delete', { name }),
  },
]

export function groupName(name: string, depth: number): string {
  return `${name} group ${depth}`
}

/** The first group is assigned, each holds the next, and the last the user. */
async function assignGroups({ execute, name }: Trial, depth: number): Promise<void> {
  for (let index = 0; index < depth; index += 1) {
    await execute('group.create', { name: groupName(name, index) })
    if (index === 0) continue
    const outer = groupName(name, index - 1)
    await execute('group.add-member', { group: outer, memberGroup: groupName(name, index) })
  }
  await execute('group.add-member', { group: groupName(name, depth - 1), user: name })
  await execute('app.assign', { name, group: groupName(name, 0) })
}

function signOutAtApplication({ browser, appUrl }: Trial): Promise<void> {
  return post(browser, `${appUrl}/.sallyport/signout`, {}, 200)
}

async function signOutAtLogin({ browser, loginUrl }: Trial): Promise<void> {
  const url = `${loginUrl}/common/oauth2/v2.0/logout`
  const { body } = await browser.open(url)
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(body)?.[1]
  if (xsrf === undefined) throw new Error('the sign-out page has no form')
  await post(browser, `${url}/confirm`, { xsrf, logout: 'yes' }, 303)
}

/** As an application asks for it that does not trust an older sign-in (OpenID Connect Core section 3.1.2.1). */
async function signInAgain({ browser, appUrl, name }: Trial): Promise<void> {
  browser.cookies.delete(new URL(appUrl).hostname)
  const { headers } = await browser.fetch(`${appUrl}/`, { headers: navigation })
  const page = await browser.open(`${headers.location}&prompt=login`)
  await submitPassword(browser, page, name, `${appUrl}/`)
}

async function endFromElsewhere(trial: Trial): Promise<void> {
  const other = new Client(trial.browser.port, trial.browser.ca)
  try {
    await signInAt(other, `${trial.appUrl}/`, trial.name)
    await post(other, `${trial.loginUrl}/sessions`, { end: 'others' }, 303)
  } finally {
    other.close()
  }
}

async function endSession({ execute, name }: Trial): Promise<void> {
  const sessions = (await execute('session.list', { user: name })) as { id: string }[]
  if (sessions.length !== 1) throw new Error(`${sessions.length} sessions in place of one`)
  await execute('session.end', { sessionId: sessions[0]!.id })
}

async function post(
  browser: Client,
  url: string,
  fields: Record<string, string>,
  status: number,
): Promise<void> {
  const answer = await browser.fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      origin: new URL(url).origin,
      'sec-fetch-site': 'same-origin',
      'sec-fetch-mode': 'navigate',
    },
    body: new URLSearchParams(fields).toString(),
  })
  if (answer.status !== status) throw new Error(`POST ${url} was answered ${answer.status}`)
}
