import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { Kdcs, type KerberosEngine, type KerberosError } from '@sallyport/kerberos'
import { lastFirst, type Scope } from '@sallyport/testkit'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { authorize, person, startEngine } from './support.ts'

const spn = 'HTTP/app.corp.example'

/** Which answer of the KDC it is, in the order of the chain. */
const answers = ['as-wanted', 'as', 's4u2self', 's4u2proxy'] as const
type Answer = (typeof answers)[number]

suite('attack 63: who changes what the KDC says gets no ticket in another name', () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  before(async () => {
    directory = await startCorpExample(scope)
  })

  /** An engine whose network lets a stranger change answers. */
  async function startBehind(
    t: Scope,
    change: (which: Answer, reply: Buffer, turn: number) => Buffer | Promise<Buffer>,
  ): Promise<KerberosEngine> {
    const kdcs = new Kdcs({ realms: { [directory.realm]: [directory.kdc] } })
    let turn = 0
    const engine = await startEngine(directory, 'svc-connector', {
      kdcs: {
        exchange: async (realm, message) => {
          const reply = await kdcs.exchange(realm, message)
          const which = answers[Math.min(turn, 2 + (turn % 2))]!
          turn += 1
          return change(which, reply, turn)
        },
      },
    })
    t.after(() => engine.close())
    return engine
  }

  const refused = (error: KerberosError) => {
    assert.match(error.code, /^KERBEROS_(KDC_REPLY_INVALID|KEYTAB_STALE|S4U_UNSUPPORTED)$/)
    return true
  }

  for (const which of ['as', 's4u2self', 's4u2proxy'] as const) {
    test(`bytes all over the ${which} answer may be changed: nothing comes of it but a refusal or alice`, async (t) => {
      let at = 0
      let size = 1
      let accepted = 0
      for (at = 0; at < size; at += 23) {
        const engine = await startBehind(t, (answer, reply) => {
          if (answer !== which) return reply
          size = reply.length
          const changed = Buffer.from(reply)
          changed[at]! ^= 0x21
          return changed
        })
        try {
          // What is changed inside of the application's ticket, the application notices.
          const { principal } = await authorize(engine, person('alice'), spn)
          assert.equal(principal, 'alice@CORP.EXAMPLE')
          accepted += 1
        } catch (error) {
          assert.match((error as KerberosError).code, /^KERBEROS_/)
        }
        engine.close()
      }
      assert.ok(size > 1000)
      if (which === 's4u2self') assert.ok(accepted < 10, `${accepted} accepted`)
    })
  }

  test('a name changed in the open part, to one of the same length', async (t) => {
    for (const which of ['s4u2self', 's4u2proxy'] as const) {
      const engine = await startBehind(t, (answer, reply) =>
        answer === which
          ? Buffer.from(reply.toString('latin1').replace('alice', 'mallo'), 'latin1')
          : reply,
      )
      await assert.rejects(authorize(engine, person('alice'), spn), refused)
    }
  })

  test('the answer to an earlier question', async (t) => {
    const kept = new Map<Answer, Buffer>()
    const engine = await startBehind(t, (which, reply, turn) => {
      if (turn <= 4) {
        kept.set(which, reply)
        return reply
      }
      return kept.get(which)!
    })
    const { principal } = await authorize(engine, person('alice'), spn)
    assert.equal(principal, 'alice@CORP.EXAMPLE')
    await assert.rejects(authorize(engine, person('bbuilder'), spn), refused)
  })

  test('an error instead of an answer, of whatever time', async (t) => {
    for (const which of ['as', 's4u2self', 's4u2proxy'] as const) {
      let error: Buffer | undefined
      const engine = await startBehind(t, (answer, reply) => {
        if (answer === 'as-wanted') error = reply
        return answer === which ? error! : reply
      })
      await assert.rejects(authorize(engine, person('alice'), spn), { name: 'KerberosError' })
    }
  })

  test('something else that listens on the port', async (t) => {
    for (const text of ['HTTP/1.1 400 Bad Request\r\n\r\n', '\x30\x03\x02\x01\x05', '']) {
      const engine = await startBehind(t, () => Buffer.from(text, 'latin1'))
      await assert.rejects(authorize(engine, person('alice'), spn), {
        code: 'KERBEROS_KDC_REPLY_INVALID',
      })
    }
  })
})
