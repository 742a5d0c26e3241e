import { type Problem, toProblems } from '@sallyport/domain'
import { z } from 'zod'
import type { AssertionKeys } from './assertion-keys.ts'
import type { Change, Configuration, Db } from './configuration.ts'
import type { CookieKeys } from './cookie-keys.ts'
import { ControlError, refuse } from './errors.ts'
import type { KeyFile } from './key-file.ts'
import type { SealingKeys } from './sealing-keys.ts'

/** What commands work with. */
export interface CommandContext {
  readonly db: Db
  readonly configuration: Configuration
  readonly cookieKeys: CookieKeys
  readonly assertionKeys: AssertionKeys
  readonly keyFile: KeyFile
  readonly sealingKeys: SealingKeys
  readonly clock: () => number
  /** Folder of the database and of what goes with it. */
  readonly dataDir: string
  hashPassword(password: string): Promise<string>
  /** Of one `objects.apply`. */
  readonly limitSteps: number
  /** How many tunnels of a connector are up. */
  countTunnels(connectorId: string): number
  /** What `status` says beside what is known here. */
  statusFacts(): object
  readonly facts: {
    readonly tenantId: string
    readonly baseDomain: string
    readonly port: number
    /** Where connectors reach the service. */
    readonly service: string
    readonly connectorCaFingerprint: string
  }
}

/** One thing an administrator can ask for. */
export interface Command {
  /** One sentence. */
  readonly summary: string
  /** Whether it changes anything. */
  readonly changes: boolean
  readonly input: z.ZodType
  /** @param input as it came: it is validated first */
  run(input: unknown, actor: string): Promise<unknown>
}

/** By name, such as `user.create`. */
export type CommandTable = ReadonlyMap<string, Command>

/** A command before it is given what it works with. */
export interface CommandDefinition {
  readonly summary: string
  readonly changes: boolean
  readonly input: z.ZodType
  run(context: CommandContext, input: unknown, actor: string): Promise<unknown>
  /** Carries it out as a part of a larger change; commands that only read have none. */
  perform?(change: Change, input: unknown, context: CommandContext): Promise<unknown>
}

/** A command that only reads. */
export function query<Schema extends z.ZodType>(
  summary: string,
  input: Schema,
  run: (context: CommandContext, input: z.output<Schema>) => Promise<unknown>,
): CommandDefinition {
  return {
    summary,
    changes: false,
    input,
    run: (context, value) => run(context, parseInput(input, value)),
  }
}

/** A command that changes something: in one transaction, with an audit event. */
export function change<Schema extends z.ZodType>(
  summary: string,
  input: Schema,
  run: (
    change: Change,
    input: z.output<Schema>,
    context: Omit<CommandContext, 'db'>,
  ) => Promise<unknown>,
): CommandDefinition {
  return prepared(summary, input, async (_context, value) => value, run)
}

/**
 * A change that first does what must not happen inside a transaction, because it takes long: everybody
 * else waits for that.
 */
export function prepared<Schema extends z.ZodType, Ready>(
  summary: string,
  input: Schema,
  prepare: (context: CommandContext, input: z.output<Schema>) => Promise<Ready>,
  run: (change: Change, ready: Ready, context: Omit<CommandContext, 'db'>) => Promise<unknown>,
): CommandDefinition {
  return {
    summary,
    changes: true,
    input,
    async run(context, value, actor) {
      const ready = await prepare(context, parseInput(input, value))
      return context.configuration.change(actor, (change) => run(change, ready, context))
    },
    async perform(change, value, context) {
      // The preparation sees what the change has done so far.
      const ready = await prepare({ ...context, db: change.db }, parseInput(input, value))
      return run(change, ready, context)
    },
  }
}

/** @throws ControlError `INPUT_INVALID` with every problem */
export function parseInput<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw refuse('INPUT_INVALID', ...(toProblems(result.error, schema) as [Problem, ...Problem[]]))
}

/** @throws ControlError `NOT_FOUND` */
export function found<T>(value: T | undefined, path: string, message: string): T {
  if (value === undefined) throw refuse('NOT_FOUND', { path, message })
  return value
}

/** No input at all; `undefined` and `{}` are the same. */
export const nothing = z.strictObject({}).prefault({})

/** A name or an ID. */
export const reference = z.string().trim().min(1).max(256)

export function unknownCommand(name: string, table: CommandTable): ControlError {
  return new ControlError(
    'COMMAND_UNKNOWN',
    `there is no command "${name}"; there are: ${[...table.keys()].join(', ')}`,
  )
}
