import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A page of an application inside, for Apache's mod_include: it says who the application believes to be served. */
export interface ApplicationPage {
  title: string
  /** Before the name of whoever is served. */
  heading: string
  /** Variable of the request that holds the name; `REMOTE_USER` unless said otherwise. */
  name?: string
  /** Variables of the request that are shown, by the ID of the element. */
  shown?: Readonly<Record<string, readonly [label: string, variable: string]>>
  /** Column heads, then rows. */
  table?: readonly (readonly string[])[]
  links?: readonly (readonly [text: string, href: string])[]
}

const css = `:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1c2128;--muted:#59636e;--line:#d8dee4;--mark:#0f766e}
@media(prefers-color-scheme:dark){:root{--page:#0f1317;--card:#171c22;--text:#e6edf3;--muted:#9aa5b1;--line:#2b333c;--mark:#5eead4}}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,"Liberation Sans",sans-serif}
header{display:flex;justify-content:space-between;padding:14px 32px;background:var(--card);border-bottom:1px solid var(--line)}
header b{color:var(--mark)}main{max-width:860px;margin:0 auto;padding:32px}
h1{font-size:26px;margin:0 0 4px}p{margin:16px 0 0;color:var(--muted);font-size:14px}a{color:var(--mark)}
table{width:100%;margin-top:24px;border-collapse:collapse;background:var(--card);border:1px solid var(--line)}
th,td{padding:10px 16px;text-align:left;border-bottom:1px solid var(--line)}th{font-size:14px;color:var(--muted)}`

function toApplicationPage(page: ApplicationPage): string {
  const { title, heading, name = 'REMOTE_USER', table = [], links = [] } = page
  const shown = Object.entries(page.shown ?? { user: ['Known here as', 'REMOTE_USER'] })
  const [heads = [], ...rows] = table
  const row = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><style>${css}</style>
<header><b>${title}</b><span>${links.map(([text, href]) => `<a href="${href}">${text}</a>`).join(' ')}</span></header>
<main><h1>${heading} <!--#echo var="${name}" --></h1>
${rows.length > 0 ? `<table>${row(heads, 'th')}${rows.map((cells) => row(cells, 'td')).join('')}</table>` : ''}
${shown.map(([id, [label, variable]]) => `<p>${label} <b id="${id}"><!--#echo var="${variable}" --></b></p>`).join('\n')}
</main></html>
`
}

/** What Apache needs for such a page. */
export const pageModules = ['mime', 'dir', 'include']

/**
 * Writes the page into `htdocs` of a folder.
 *
 * @param paths folders below it that have the page, too, such as `public`
 * @returns the lines of Apache's configuration by which it is served
 */
export function writeApplicationPage(
  dir: string,
  page: ApplicationPage,
  paths: readonly string[] = [],
): string {
  const text = toApplicationPage(page)
  for (const path of ['', ...paths]) {
    mkdirSync(join(dir, 'htdocs', path), { recursive: true })
    writeFileSync(join(dir, 'htdocs', path, 'index.html'), text)
  }
  return `AddType text/html .html
AddOutputFilter INCLUDES .html
DocumentRoot ${dir}/htdocs
DirectoryIndex index.html
<Directory ${dir}/htdocs>
Options +Includes
</Directory>`
}
