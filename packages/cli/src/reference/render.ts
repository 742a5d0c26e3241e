import {
  type ObjectKind,
  objectKinds,
  objectSchemas,
  toObjectJsonSchema,
} from '@sallyport/control/objects'
import { applicationSchema, linkedApplicationSchema } from '@sallyport/domain'
import type { Command } from 'commander'
import { z } from 'zod'
import { serviceConfigSchema, toServiceJsonSchema } from '../config.ts'
import { examples, pathOf } from '../examples.ts'
import { createProgram } from '../program.ts'
import { type JsonSchema, toFields } from './fields.ts'

/** Pages of the documentation that are made from schemas and commands; a test holds them up to date. */

const notice =
  '<!-- Made by `npm run reference` from the schemas and the commands themselves: change those. -->'

const titles: Readonly<Record<ObjectKind, string>> = {
  connectorGroup: 'Connector group',
  user: 'User',
  group: 'Group',
  application: 'Application',
  linkedApplication: 'Linked application',
}

export function renderConfigurationReference(): string {
  const objects = objectKinds.flatMap((kind) => [
    `### ${titles[kind]}`,
    `\`kind: ${kind}\`. ${objectSchemas[kind].description}`,
    toTable(jsonSchemaOf(objectSchemas[kind]), new Set(['kind'])),
  ])
  return page(
    '# Configuration reference',
    notice,
    'Every field that can be configured, in three places: the file of the service, objects in YAML files, and the fields of an application in the command line.',
    '## sallyport.yaml',
    'What the service reads when it starts. How to use it: [setting up and configuring the service](../configuration.md). For editors: `sallyport schema service` prints the JSON schema, which is also [here](service.schema.json).',
    toTable(jsonSchemaOf(serviceConfigSchema)),
    '## Objects',
    "What `sallyport apply` takes and `sallyport export` writes. How to use it: [administration](../administration.md#declarative-configuration). Each YAML document is one object; unknown fields are refused. Settings that Entra has too have the names and values of Entra's application proxy. For editors: `sallyport schema` prints the JSON schema, which is also [here](objects.schema.json).",
    ...objects,
    '## Fields of an application',
    'What `sallyport app show` prints and `sallyport app update` sets. What they mean in practice: [publishing applications](../publishing-applications.md).',
    toTable(jsonSchemaOf(applicationSchema)),
    '## Fields of a linked application',
    'What `sallyport app show` prints of a tile that leads elsewhere, and `sallyport app update` sets.',
    toTable(jsonSchemaOf(linkedApplicationSchema)),
  )
}

export function renderCommandReference(): string {
  const program = createProgram()
  const leaves = leavesOf(program).toSorted((a, b) => order(a) - order(b))
  return page(
    '# Commands',
    notice,
    '`sallyport [--config FILE] [--json] COMMAND`. `--config` (`-c`) is `sallyport.yaml` in the current folder unless said otherwise; `--json` prints what programs read. Commands talk to the running service through its control socket; while it is stopped they work on its database. `sallyport COMMAND --help` says the same as this page. A command that fails prints one line for each problem, with its field, and ends with status 1; one that cannot be understood ends with status 64.',
    ...leaves.flatMap(renderCommand),
  )
}

/** Files under `docs/reference/`, by name. */
export function renderReference(): Record<string, string> {
  return {
    'configuration.md': renderConfigurationReference(),
    'commands.md': renderCommandReference(),
    'objects.schema.json': toJson(toObjectJsonSchema()),
    'service.schema.json': toJson(toServiceJsonSchema()),
  }
}

function renderCommand(command: Command): string[] {
  const path = pathOf(command)
  const rows = [
    ...command.registeredArguments
      .filter(({ description }) => description !== '')
      .map((one) => [`\`${one.name()}\``, one.description, toText(one.defaultValue)]),
    ...command.options.map((one) => [
      `\`${one.flags.replaceAll('|', '\\|')}\``,
      one.description,
      one.negate ? '' : toText(one.defaultValue),
    ]),
  ]
  const sentence = command.description().replaceAll(/\s+/g, ' ')
  return [
    `## ${path}`,
    `\`sallyport ${path} ${command.usage()}\``,
    `${sentence[0]!.toUpperCase()}${sentence.slice(1)}.`,
    ...(rows.length === 0 ? [] : [table(['Option', 'Meaning', 'Default'], rows)]),
    `\`\`\`sh\n${examples[path]!.join('\n')}\n\`\`\``,
  ]
}

function leavesOf(command: Command): Command[] {
  const below = command.commands.filter((one) => one.name() !== 'help')
  return below.length === 0 ? [command] : below.flatMap(leavesOf)
}

/** As the table of examples has them: what one needs first comes first. */
function order(command: Command): number {
  return Object.keys(examples).indexOf(pathOf(command))
}

function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { target: 'draft-7', io: 'input' }) as JsonSchema
}

function toTable(schema: JsonSchema, without: ReadonlySet<string> = new Set()): string {
  const rows = toFields(schema, '', without).map(({ path, values, fallback, description }) => [
    `\`${path}\``,
    values,
    fallback,
    description,
  ])
  return table(['Field', 'Values', 'Default', 'Meaning'], rows)
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}

function toText(value: unknown): string {
  return value === undefined ? '' : `\`${value}\``
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function page(...parts: string[]): string {
  return `${parts.join('\n\n')}\n`
}
