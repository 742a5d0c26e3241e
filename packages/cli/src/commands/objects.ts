import type { ObjectChange, ObjectKind } from '@sallyport/control/objects'
import type { Problem } from '@sallyport/domain'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Administration } from '../administration.ts'
import { each } from '../arguments.ts'
import { exitCodes } from '../failure.ts'
import { printLine, toJson } from '../output.ts'

interface ApplyOptions {
  file: string[]
  plan?: boolean
  prune?: true | ObjectKind[]
  expect?: string
}

const kinds: readonly ObjectKind[] = [
  'connectorGroup',
  'user',
  'group',
  'application',
  'linkedApplication',
]

export function addObjectCommands(program: Command, administration: Administration): void {
  program
    .command('apply')
    .description(
      'make the service as YAML files say, all of it or nothing; with --plan only say what is different (status 0: nothing, 2: something)',
    )
    .requiredOption(
      '-f, --file <path>',
      'a folder of .yaml files, or a file; - is standard input; repeatable',
      each((path) => path),
    )
    .option('--plan', 'only say what would change')
    .option(
      '--prune [kinds]',
      `also delete what the files do not have; of the kinds that they have any of, or of these: ${kinds.join(',')}`,
      toKinds,
    )
    .addOption(
      new Option(
        '--expect <id>',
        'only if the changes are still those of the plan with this ID',
      ).conflicts('plan'),
    )
    .action((options: ApplyOptions) => apply(administration, options))

  program
    .command('export')
    .description('print everything that "apply" can set as YAML, or write it into a folder')
    .option('-o, --output <folder>', 'write files into this folder')
    .option('--replace', 'write over files that are there')
    .action(async (options: { output?: string; replace?: boolean }) => {
      const objects = (await administration.execute('objects.export', {})) as (Record<
        string,
        unknown
      > & { kind: string })[]
      const { schemaFile, toYaml, writeObjects } = await import('../objects/write.ts')
      if (options.output === undefined) {
        process.stdout.write(
          administration.json ? `${toJson(objects)}\n` : toYaml(objects, schemaFile),
        )
        return
      }
      const { toObjectJsonSchema } = await import('@sallyport/control/objects')
      const files = writeObjects(
        objects,
        toObjectJsonSchema(),
        options.output,
        options.replace ?? false,
      )
      printLine(
        administration.json
          ? toJson({ files })
          : `${objects.length} ${objects.length === 1 ? 'object' : 'objects'} written to ${options.output}`,
      )
    })

  program
    .command('schema')
    .description('print the JSON schema of objects, or of sallyport.yaml, for editors')
    .argument('[what]', 'objects or service', toSchemaName, 'objects')
    .action(async (what: 'objects' | 'service') => {
      if (what === 'service') {
        const { toServiceJsonSchema } = await import('../config.ts')
        return printLine(JSON.stringify(toServiceJsonSchema(), null, 2))
      }
      const { toObjectJsonSchema } = await import('@sallyport/control/objects')
      printLine(JSON.stringify(toObjectJsonSchema(), null, 2))
    })
}

async function apply(administration: Administration, options: ApplyOptions): Promise<void> {
  // Loaded only now: other commands need none of it.
  const { checkYaml, explainFiles, readObjectFiles } = await import('../objects/read.ts')
  const { countChanges, printChanges } = await import('../objects/print.ts')
  const files = readObjectFiles(options.file)
  await checkYaml(files)
  const there = new Set(files.values.map((value) => (value as { kind?: unknown } | null)?.kind))
  const prune =
    options.prune === true ? kinds.filter((kind) => there.has(kind)) : (options.prune ?? [])
  let result: { id: string; changes: ObjectChange[] }
  try {
    result = (await administration.execute(options.plan ? 'objects.plan' : 'objects.apply', {
      objects: files.values,
      prune,
      ...(options.expect === undefined ? {} : { expect: options.expect }),
    })) as typeof result
  } catch (error) {
    const { code, problems } = error as { code?: unknown; problems?: readonly Problem[] }
    if (code !== 'CONFIGURATION_INVALID' || !problems) throw error
    throw explainFiles(files, problems)
  }
  const { id, changes } = result
  if (options.plan && changes.length > 0) process.exitCode = exitCodes.different
  if (administration.json) return printLine(toJson(result))
  for (const line of printChanges(changes)) printLine(line)
  if (options.prune === true) {
    const left = kinds.filter((kind) => !prune.includes(kind))
    if (left.length > 0) printLine(`Not pruned, because the files have none: ${left.join(', ')}`)
  }
  if (changes.length === 0) printLine('No changes: the service is as the files say.')
  else if (options.plan)
    printLine(`Plan ${id}: ${countChanges(changes, ['to create', 'to change', 'to delete'])}`)
  else printLine(`Applied: ${countChanges(changes, ['created', 'changed', 'deleted'])}`)
}

function toKinds(text: string): ObjectKind[] {
  return text.split(',').map((name) => {
    const kind = kinds.find((one) => one === name.trim())
    if (!kind) throw new InvalidArgumentError(`must be some of: ${kinds.join(',')}`)
    return kind
  })
}

function toSchemaName(text: string): string {
  if (text !== 'objects' && text !== 'service')
    throw new InvalidArgumentError('must be objects or service')
  return text
}
