import { hash, verify } from '@node-rs/argon2'
import { IdentityError } from './errors.ts'

// OWASP's first choice for argon2id: 19 MiB, two passes, one lane. 13 ms on the machines measured.
const parameters = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
const currentPrefix = '$argon2id$v=19$m=19456,t=2,p=1$'

const limitParallel = 2
// Half a second of work at most in front of anybody; beyond that waiting only helps an attacker.
const limitWaiting = 80

let running = 0
const waiting: (() => void)[] = []

/** Each hash takes 19 MiB and a core: unbounded, sign-in would be the way to stop the service. */
async function oneOfFew<T>(work: () => Promise<T>): Promise<T> {
  if (running >= limitParallel) {
    if (waiting.length >= limitWaiting)
      throw new IdentityError('OVERLOADED', `${limitWaiting} passwords wait to be checked`)
    await new Promise<void>((resolve) => waiting.push(resolve))
  } else {
    running += 1
  }
  try {
    return await work()
  } finally {
    const next = waiting.shift()
    if (next) next()
    else running -= 1
  }
}

// What one keyboard sends as one character, another sends as two.
function normalized(password: string): string {
  return password.normalize('NFC')
}

/**
 * @returns argon2id in PHC form
 * @throws IdentityError `OVERLOADED`
 */
export function hashPassword(password: string): Promise<string> {
  return oneOfFew(() => hash(normalized(password), parameters))
}

let dummy: Promise<string> | undefined

/**
 * Checks a password. Without a hash it takes as long and answers false, so that nobody learns by the
 * clock which users exist.
 *
 * @throws IdentityError `OVERLOADED`
 */
export async function verifyPassword(
  passwordHash: string | undefined,
  password: string,
): Promise<boolean> {
  if (passwordHash !== undefined)
    return await oneOfFew(() => verify(passwordHash, normalized(password)))
  dummy ??= hash('nobody has this password', parameters)
  const stand = await dummy
  await oneOfFew(() => verify(stand, normalized(password)))
  return false
}

/** Whether a hash was made with other parameters than those in force. */
export function isOutdatedHash(passwordHash: string): boolean {
  return !passwordHash.startsWith(currentPrefix)
}
