import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { CommandError } from '../failure.ts'

type ObjectValue = Record<string, unknown> & { kind: string }

/** The JSON schema lies beside what is written, so that editors find that of the same version. */
export const schemaFile = 'sallyport.schema.json'

const applicationFolder = 'applications'

const origin = '# Written by: sallyport export'

/** One file for each kind, but one for each application. */
const filesOfKinds: Readonly<Record<string, string>> = {
  connectorGroup: 'connector-groups.yaml',
  user: 'users.yaml',
  group: 'groups.yaml',
  linkedApplication: 'linked-applications.yaml',
}

/** Objects as the text of one file. */
export function toYaml(objects: readonly ObjectValue[], schema: string): string {
  const documents = objects.map((object) =>
    // Readers of YAML 1.1 take no, on and 1:30 for something else than text.
    stringify(object, { lineWidth: 0, compat: 'yaml-1.1' }),
  )
  return `# yaml-language-server: $schema=${schema}\n${origin}\n${documents.join('---\n')}`
}

/**
 * Writes objects into a folder.
 *
 * @param replace writes over files that are there, and removes those of an earlier export that nothing belongs in any
 *   more
 * @returns the files, from the folder
 * @throws CommandError when files are there that would be lost; nothing is written then
 */
export function writeObjects(
  objects: readonly ObjectValue[],
  schema: object,
  folder: string,
  replace: boolean,
): string[] {
  const files = new Map<string, string>()
  for (const [kind, name] of Object.entries(filesOfKinds)) {
    const ofKind = objects.filter((object) => object.kind === kind)
    if (ofKind.length > 0) files.set(name, toYaml(ofKind, schemaFile))
  }
  for (const object of objects)
    if (object.kind === 'application')
      files.set(
        // Names of applications hold letters, digits and hyphens only.
        join(applicationFolder, `${object.name}.yaml`),
        toYaml([object], `../${schemaFile}`),
      )
  const own = [...Object.values(filesOfKinds), ...yamlFilesIn(folder, applicationFolder)].filter(
    (name) => isExported(join(folder, name)),
  )
  const there = [...files.keys()].filter((name) => existsSync(join(folder, name)))
  const lost = [...new Set([...there, ...own])].filter(
    (name) => files.get(name) !== readIfThere(join(folder, name)),
  )
  if (lost.length > 0 && !replace)
    throw new CommandError(
      `${folder}: holds ${lost.slice(0, 5).join(', ')}${lost.length > 5 ? ' and more' : ''}, which would be lost`,
      'choose another folder, or give --replace',
    )
  files.set(schemaFile, `${JSON.stringify(schema, null, 2)}\n`)
  for (const [name, text] of files) writeWhole(join(folder, name), text)
  for (const name of own) if (!files.has(name)) rmSync(join(folder, name))
  return [...files.keys()]
}

function yamlFilesIn(folder: string, name: string): string[] {
  const path = join(folder, name)
  if (!existsSync(path)) return []
  return readdirSync(path)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => join(name, file))
}

function isExported(path: string): boolean {
  return readIfThere(path)?.split('\n', 2)[1] === origin
}

function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}

/** Whoever reads at the same time reads the old file or the new one. */
function writeWhole(path: string, text: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true })
    // Whoever may write into the folder could have put a link there that leads elsewhere.
    rmSync(`${path}.part`, { force: true })
    writeFileSync(`${path}.part`, text, { flag: 'wx' })
    renameSync(`${path}.part`, path)
  } catch (error) {
    throw new CommandError(
      `${path}: cannot be written (${(error as NodeJS.ErrnoException).code})`,
      'choose a folder that this user may write to',
    )
  }
}
