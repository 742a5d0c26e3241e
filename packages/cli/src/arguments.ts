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

/** `FIELD=JSON`; what is no JSON is a text, because nobody wants to quote quotes for a shell. */
export function toSetting(text: string): [field: string, value: unknown] {
  const [field, value] = splitAtEquals(text, 'FIELD=VALUE')
  try {
    return [field, JSON.parse(value)]
  } catch {
    return [field, value]
  }
}

/** `NAME=claim`, or `NAME="constant"`. */
export function toHeader(text: string): Record<string, string> {
  const [name, source] = splitAtEquals(text, 'NAME=claim or NAME="constant"')
  const constant = /^"(.*)"$/.exec(source)
  return constant ? { name, value: constant[1]! } : { name, claim: source }
}

function splitAtEquals(text: string, form: string): [string, string] {
  const equals = text.indexOf('=')
  if (equals <= 0) throw new InvalidArgumentError(`must be written as ${form}`)
  return [text.slice(0, equals), text.slice(equals + 1)]
}

/**
 * One line says what was wrong with the arguments and where the help is; the status is 2. To be called when all
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
