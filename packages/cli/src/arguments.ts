import { type Command, InvalidArgumentError } from 'commander'
import { exitCodes } from './failure.ts'

/** @returns a parser for options and arguments that may be given many times */
export function each<T>(parse: (text: string) => T): (text: string, all?: readonly T[]) => T[] {
  return (text, all = []) => [...all, parse(text)]
}

/** @returns a parser of whole numbers for commander */
export function toInteger(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (!/^[0-9]{1,15}$/.test(text) || number < min || number > max)
      throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}`)
    return number
  }
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/**
 * A time: so long ago (`30m`, `2h`, `7d`), or a date with or without a time of day, which is UTC unless it says
 * otherwise.
 *
 * @returns epoch milliseconds
 */
export function toInstant(text: string, nowAt: number = Date.now()): number {
  const [, count, unit] = /^([0-9]{1,6})([smhd])$/.exec(text) ?? []
  if (count !== undefined) return nowAt - Number(count) * unitMs[unit as keyof typeof unitMs]
  const [, day, time = '00:00', zone = 'Z'] =
    /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)(Z|[+-]\d{2}:\d{2})?)?$/.exec(
      text,
    ) ?? []
  const at = Date.parse(`${day}T${time}${zone}`)
  // A day that no month has is taken for the next one.
  if (Number.isNaN(at) || new Date(`${day}T00:00Z`).toISOString().slice(0, 10) !== day)
    throw new InvalidArgumentError('must be such as 30m, 2h, 7d, 2026-01-31 or 2026-01-31T08:00Z')
  return at
}

/** `FIELD=JSON`; what is no JSON is a text, because nobody wants to quote quotes for a shell. */
export function toSetting(text: string): [field: string, value: unknown] {
  const [field, value] = splitAtEquals(text, 'FIELD=VALUE')
  try {
    return [field, JSON.parse(value)]
  } catch {
    return [field, value]
  }
}

/** `NAME=claim`, with transforms that need no more than their name behind it (`mail|toLowercase`); or `NAME="constant"`. */
export function toHeader(text: string): Record<string, unknown> {
  const [name, source] = splitAtEquals(text, 'NAME=claim or NAME="constant"')
  const constant = /^"(.*)"$/.exec(source)
  if (constant) return { name, value: constant[1]! }
  const [claim, ...transforms] = source.split('|').map((part) => part.trim())
  if (transforms.length === 0) return { name, claim }
  return { name, claim, transforms: transforms.map((transform) => ({ transform })) }
}

function splitAtEquals(text: string, form: string): [string, string] {
  const equals = text.indexOf('=')
  if (equals <= 0) throw new InvalidArgumentError(`must be written as ${form}`)
  return [text.slice(0, equals), text.slice(equals + 1)]
}

/**
 * One line says what was wrong with the arguments and where the help is; the status is 64. To be called when all
 * commands are there.
 */
export function explainUsage(program: Command): void {
  program.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : exitCodes.usage))
  const name = nameOf(program)
  program.configureOutput({
    outputError: (text, write) => write(text.replace(/^error:/, `${name}:`)),
  })
  program.showHelpAfterError(`see: ${name} --help`)
  program.configureHelp({ showGlobalOptions: true })
  for (const command of program.commands) explainUsage(command)
}

function nameOf(command: Command): string {
  return command.parent ? `${nameOf(command.parent)} ${command.name()}` : command.name()
}
