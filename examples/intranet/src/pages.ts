import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Html, html } from './html.ts'
import { findCookies, readForm } from './request.ts'
import { Problem, sendPage } from './send.ts'
import { readWho } from './who.ts'

/** Everything that reached this application, and things to try. */
export function showHome(req: IncomingMessage, res: ServerResponse): void {
  const who = readWho(req)
  const name = who.displayName ?? who.userName
  const fields = pairsOf(req.rawHeaders)
  sendPage(
    res,
    layout(
      'Home',
      html`
      <section class="hero">
        <p class="eyebrow">Northwind intranet</p>
        <h1>${name === undefined ? 'Good day, whoever you are' : `Good day, ${name}`}</h1>
        <p class="lead">${
          name === undefined
            ? 'Nothing in the request says who is asking.'
            : html`The request says that you are <strong id="user">${who.userName ?? name}</strong>.`
        }</p>
        ${
          name === undefined
            ? undefined
            : facts([
                ['Mail', who.mail],
                ['Groups', who.groups?.replaceAll(';', ', ')],
              ])
        }
      </section>
      <div class="grid">
        <section class="card">
          <h2>Clock <span class="tag">WebSocket</span></h2>
          <p class="big" id="clock" role="timer">--:--:--</p>
          <p class="quiet" id="clock-state">not connected</p>
        </section>
        <section class="card">
          <h2>Events <span class="tag">server-sent</span></h2>
          <p class="big" id="events">0</p>
          <p class="quiet" id="events-state">not connected</p>
        </section>
        <section class="card">
          <h2>Upload</h2>
          <form id="upload" method="post" action="upload" enctype="multipart/form-data">
            <label for="file">A file of any size</label>
            <input id="file" name="file" type="file" required>
            <button>Send</button>
            <progress id="upload-progress" max="1" value="0" aria-label="Upload" hidden></progress>
          </form>
          <p class="quiet" id="upload-result" role="status"></p>
        </section>
        <section class="card">
          <h2>Download</h2>
          <form action="download">
            <label for="bytes">Bytes</label>
            <input id="bytes" name="bytes" type="number" min="0" value="1000000">
            <button>Fetch</button>
          </form>
        </section>
      </div>
      <section class="card more">
        <h2>More to try</h2>
        <ul>
          <li><a href="form">A form</a> that posts to itself</li>
          <li><a href="cookies">Cookies</a> that came, and a form that sets another</li>
          <li><a href="redirect">A redirect</a> by the address that this application believes to have: it leads back here</li>
          <li><a href="echo">This request as JSON</a>, exactly as it arrived</li>
          <li><a href="slow?ms=2000">A slow answer</a>, after two seconds</li>
        </ul>
      </section>
      <section class="card">
        <h2>This request</h2>
        ${facts([
          ['Method', req.method],
          ['Target', req.url],
          ['Version', `HTTP/${req.httpVersion}`],
          ['From', `${req.socket.remoteAddress} port ${req.socket.remotePort}`],
        ])}
        <h3>Fields, in the order they came</h3>
        <div class="scroll" tabindex="0" role="region" aria-label="Header fields">
          <table id="fields">
            <thead><tr><th scope="col">Name</th><th scope="col">Value</th></tr></thead>
            <tbody>${fields.map(
              ([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`,
            )}</tbody>
          </table>
        </div>
      </section>`,
    ),
  )
}

const LABELS: Record<string, string> = { from: 'First day', days: 'Days', reason: 'Reason' }

/** A form that posts to itself and shows what came. */
export async function showForm(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const posted = req.method === 'POST' ? await readForm(req) : undefined
  sendPage(
    res,
    layout(
      'Form',
      html`
      <section class="card narrow">
        <h1>Request for leave</h1>
        ${
          posted &&
          html`<div class="notice" role="status" id="posted"><p>Received:</p>
            ${facts([...posted].map(([name, value]) => [LABELS[name] ?? name, value]))}</div>`
        }
        <form method="post">
          <label for="from">${LABELS.from}</label>
          <input id="from" name="from" type="date" required>
          <label for="days">${LABELS.days}</label>
          <input id="days" name="days" type="number" min="1" max="30" value="5">
          <label for="reason">${LABELS.reason}</label>
          <textarea id="reason" name="reason" rows="4"></textarea>
          <button>Send request</button>
        </form>
      </section>`,
    ),
  )
}

/** The cookies that came, and a form that sets another: two `Set-Cookie` lines, then back. */
export async function showCookies(req: IncomingMessage, res: ServerResponse): Promise<void> {
  if (req.method === 'POST') {
    const form = await readForm(req)
    const name = form.get('name') ?? ''
    const value = encodeURIComponent(form.get('value') ?? '')
    const domain = form.get('domain') ?? ''
    if (!/^\w{1,64}$/.test(name)) throw new Problem(400, 'name: letters, digits and _')
    if (!/^[\w.-]{0,255}$/.test(domain)) throw new Problem(400, 'domain: a host name')
    const attributes = `Path=/; HttpOnly; SameSite=Lax${domain && `; Domain=${domain}`}`
    res.setHeader('set-cookie', [`${name}=${value}; ${attributes}`, `changed=${name}; Path=/`])
    res.writeHead(303, { location: 'cookies' }).end()
    return
  }
  const cookies = findCookies(req)
  sendPage(
    res,
    layout(
      'Cookies',
      html`
      <section class="card narrow">
        <h1>Cookies</h1>
        ${
          cookies.length === 0
            ? html`<p class="quiet">None came.</p>`
            : html`<div id="cookies">${facts(cookies)}</div>`
        }
        <form method="post">
          <label for="name">Name</label>
          <input id="name" name="name" required pattern="[A-Za-z0-9_]{1,64}" value="flavour">
          <label for="value">Value</label>
          <input id="value" name="value" value="vanilla">
          <label for="domain">Domain <span class="quiet">(may be empty)</span></label>
          <input id="domain" name="domain">
          <button>Set</button>
        </form>
      </section>`,
    ),
  )
}

/** What went wrong, with a way back to the rest, from however deep a path. */
export function showProblem(req: IncomingMessage, res: ServerResponse, problem: Problem): void {
  const { pathname } = new URL(req.url ?? '/', 'http://intranet')
  const up = '../'.repeat(pathname.split('/').length - 2)
  sendPage(
    res,
    layout(
      'Sorry',
      html`
      <section class="card narrow">
        <h1>${problem.statusCode === 404 ? 'Not found' : 'That did not work'}</h1>
        <p class="lead">${problem.message}</p>
        <p><a href="${up || './'}">Back to the home page</a></p>
      </section>`,
      up,
    ),
    problem.statusCode,
    problem.headers,
  )
}

const LINKS = [
  ['./', 'Home'],
  ['form', 'Form'],
  ['cookies', 'Cookies'],
] as const

/** @param up leads from the page to the folder of all pages */
function layout(title: string, body: Html, up = ''): string {
  return html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title} - Northwind intranet</title>
    <link rel="icon" href="${up}intranet.svg" type="image/svg+xml">
    <link rel="stylesheet" href="${up}intranet.css">
    <script src="${up}intranet.js" defer></script>
  </head>
  <body>
    <header>
      <nav aria-label="Pages">${LINKS.map(
        ([href, text]) =>
          html`<a href="${up}${href}" ${text === title ? html`aria-current="page"` : ''}>${text}</a>`,
      )}</nav>
    </header>
    <main>${body}</main>
  </body>
</html>
`.text
}

function facts(pairs: (readonly [string, string | undefined])[]): Html {
  return html`<dl>${pairs
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}

function pairsOf(rawHeaders: string[]): [string, string][] {
  const names = rawHeaders.filter((_, index) => index % 2 === 0)
  return names.map((name, index) => [name, rawHeaders[index * 2 + 1] ?? ''])
}
