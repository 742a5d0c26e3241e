// The process in which MIT's library runs: it may block, crash and be killed without anybody's doing here. What it needs to know
// is in KRB5_CONFIG, which is of our own making, and in its arguments.
import { GssFailure, type Handle, type Library } from './library.ts'
import type { Answer, ChildSettings, FromChild, Question, ToChild } from './messages.ts'

/** So many tokens whose answers have not come are remembered. */
const maxExchanges = 10_000

const settings = JSON.parse(process.argv[2]!) as ChildSettings
const say = (message: FromChild) => void process.send!(message)

interface Person {
  credentials: Handle
  /** Begun, and not over. */
  exchanges: number
  gone: boolean
}

class Child {
  readonly #library: Library
  readonly #people = new Map<number, Person>()
  readonly #exchanges = new Map<number, { context: Handle; person: Person; spn: string }>()
  #lastId = 0

  constructor(library: Library) {
    this.#library = library
  }

  answer(question: Question): Answer {
    switch (question.do) {
      case 'account':
        return this.#withOwn(() => ({}))
      case 'impersonate':
        return this.#impersonate(question)
      case 'token':
        return this.#makeToken(question)
      case 'verify':
        return this.#verify(question)
      case 'release':
        this.#release(question)
        return {}
    }
  }

  /** Renewed by the library when half of their life is over. */
  #withOwn<Result>(use: (own: Handle) => Result): Result {
    const { account, keytab } = settings
    const store = { client_keytab: `FILE:${keytab}`, ccache: 'MEMORY:own' }
    const own = this.#library.acquire(account, store)
    try {
      this.#library.inquire(own)
      return use(own)
    } finally {
      this.#library.releaseCredentials(own)
    }
  }

  #impersonate({ user, kind }: Extract<Question, { do: 'impersonate' }>): Answer {
    const credentials = this.#withOwn((own) => this.#library.impersonate(own, user, kind))
    try {
      // The ticket to ourselves is what S4U2Self gave: no KDC is asked for it.
      const { context, token } = this.#library.init(credentials, settings.account)
      this.#library.deleteContext(context)
      const source = this.#library.inquire(credentials).name
      const person = this.#keep(this.#people, { credentials, exchanges: 0, gone: false })
      return { person, token: token.toString('base64'), source }
    } catch (error) {
      this.#library.releaseCredentials(credentials)
      throw error
    }
  }

  #makeToken({ person: id, spn, binding }: Extract<Question, { do: 'token' }>): Answer {
    const person = this.#people.get(id)
    if (!person) return forgotten
    const { context, token } = this.#library.init(person.credentials, spn, {
      binding: binding === undefined ? undefined : Buffer.from(binding, 'base64'),
    })
    if (this.#exchanges.size >= maxExchanges) {
      const [oldest] = this.#exchanges.keys()
      this.#endExchange(oldest!)
    }
    person.exchanges += 1
    const exchange = this.#keep(this.#exchanges, { context, person, spn })
    return { exchange, token: token.toString('base64') }
  }

  #verify({ exchange, reply }: Extract<Question, { do: 'verify' }>): Answer {
    const begun = this.#exchanges.get(exchange)
    if (!begun) return forgotten
    const { context, person, spn } = begun
    try {
      const input = Buffer.from(reply, 'base64')
      const { done } = this.#library.init(person.credentials, spn, { context, input })
      return { source: done ? this.#library.sourceOf(context) : '' }
    } finally {
      this.#endExchange(exchange)
    }
  }

  #release({ person: id, exchange }: Extract<Question, { do: 'release' }>): void {
    if (exchange !== undefined) this.#endExchange(exchange)
    const person = id === undefined ? undefined : this.#people.get(id)
    if (!person) return
    this.#people.delete(id!)
    person.gone = true
    this.#releaseIfUnused(person)
  }

  #endExchange(id: number): void {
    const begun = this.#exchanges.get(id)
    if (!begun) return
    this.#exchanges.delete(id)
    this.#library.deleteContext(begun.context)
    begun.person.exchanges -= 1
    this.#releaseIfUnused(begun.person)
  }

  /** Answers to tokens of somebody who was forgotten are still read. */
  #releaseIfUnused({ credentials, exchanges, gone }: Person): void {
    if (gone && exchanges === 0) this.#library.releaseCredentials(credentials)
  }

  #keep<Value>(map: Map<number, Value>, value: Value): number {
    this.#lastId += 1
    map.set(this.#lastId, value)
    return this.#lastId
  }
}

const forgotten: Answer = { failure: { kind: 'forgotten', message: 'it is not there any more' } }

function answerSafely(child: Child, question: Question): Answer {
  try {
    return child.answer(question)
  } catch (error) {
    if (!(error instanceof GssFailure)) throw error
    return { failure: { kind: 'gss', message: error.message, minor: error.minor } }
  }
}

process.on('disconnect', () => process.exit())
try {
  const { openLibrary } = await import('./library.ts')
  const child = new Child(openLibrary())
  process.on('message', ({ id, question }: ToChild) =>
    say({ id, answer: answerSafely(child, question) }),
  )
  say({ ready: true })
} catch (error) {
  say({ unavailable: (error as Error).message })
}
