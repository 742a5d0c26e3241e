import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { checkObjects } from '@sallyport/control/objects'
import type { Problem } from '@sallyport/domain'
import { CommandError } from '../failure.ts'
import { decodeUtf8, readYaml, type YamlDocument } from '../yaml.ts'

/** Something wrong in a file. */
interface Finding {
  file: string
  line: number
  message: string
}

/** Objects, and where each of them stands. */
export interface ObjectFiles {
  names: string[]
  values: unknown[]
  places: { file: string; document: YamlDocument }[]
  findings: Finding[]
}

/**
 * Reads objects from files and folders.
 *
 * @param paths a folder is read with those in it, but for hidden ones; `-` is standard input
 * @throws CommandError when there is nothing to read
 */
export function readObjectFiles(paths: readonly string[]): ObjectFiles {
  const names = [...new Set(paths.flatMap((path) => findFiles(path, new Set())))]
  const files: ObjectFiles = { names, values: [], places: [], findings: [] }
  for (const name of names) readObjectFile(name, files)
  if (files.values.length === 0 && files.findings.length === 0)
    throw new CommandError(
      `${paths.join(', ')}: no object is there`,
      'name a folder with files that end in .yaml or .yml; see: sallyport export --help',
    )
  return files
}

/** @param above folders on the way, against links that lead in a circle */
function findFiles(path: string, above: ReadonlySet<string>): string[] {
  if (path === '-') return [path]
  return orExplain(path, () => {
    if (!statSync(path).isDirectory()) return [path]
    const real = realpathSync(path)
    if (above.has(real)) return []
    const within = new Set([...above, real])
    return readdirSync(path, { withFileTypes: true })
      .filter(({ name }) => !name.startsWith('.') && name !== 'node_modules')
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .flatMap((entry) => {
        const inner = join(path, entry.name)
        const isFolder = entry.isSymbolicLink()
          ? (statSync(inner, { throwIfNoEntry: false })?.isDirectory() ?? false)
          : entry.isDirectory()
        if (isFolder) return findFiles(inner, within)
        return /\.ya?ml$/.test(entry.name) ? [inner] : []
      })
  })
}

function readObjectFile(name: string, files: ObjectFiles): void {
  const file = shown(name)
  const text = decodeUtf8(orExplain(file, () => readFileSync(name === '-' ? 0 : name)))
  if (text === undefined) {
    files.findings.push({ file, line: 1, message: 'must be UTF-8' })
    return
  }
  const { documents, problems } = readYaml(text)
  for (const { line = 1, message } of problems) files.findings.push({ file, line, message })
  for (const document of documents) {
    files.values.push(document.value)
    files.places.push({ file, document })
  }
}

function shown(name: string): string {
  return name === '-' ? 'standard input' : name
}

function orExplain<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined || code.startsWith('ERR_')) throw error
    throw new CommandError(
      `${path}: ${code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`}`,
      'name the files with -f',
    )
  }
}

/** @throws CommandError with every problem of every file, if YAML has one at all */
export async function checkYaml(files: ObjectFiles): Promise<void> {
  if (files.findings.length === 0) return
  const { problems } = await checkObjects(files.values)
  throw explainFiles(files, problems)
}

/**
 * Problems of objects as problems of files: `hr.yaml:7: externalUrl: must begin with https://`.
 *
 * @param problems with paths such as `objects.3.externalUrl`; others concern what is not in the files
 */
export function explainFiles(files: ObjectFiles, problems: readonly Problem[]): CommandError {
  const findings = [...files.findings]
  const others: string[] = []
  for (const { path, message } of problems) {
    const [, index, field = ''] = /^objects\.([0-9]+)(?:\.(.*))?$/s.exec(path) ?? []
    const place = index === undefined ? undefined : files.places[Number(index)]
    if (place)
      findings.push({
        file: place.file,
        line: place.document.lineOf(field),
        message: field === '' ? message : `${field}: ${message}`,
      })
    else others.push(`${path}: ${message}`)
  }
  const rank = new Map(files.names.map((name, index) => [shown(name), index]))
  findings.sort((a, b) => rank.get(a.file)! - rank.get(b.file)! || a.line - b.line)
  const lines = findings.map(({ file, line, message }) => `${file}:${line}: ${message}`)
  return new CommandError([...lines, ...others].join('\n'), 'nothing was changed')
}
