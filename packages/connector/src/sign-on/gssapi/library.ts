import koffi from 'koffi'

/**
 * What is used of MIT's GSSAPI library (RFC 2744, and its extensions in `gssapi_ext.h`). One mechanism throughout, Kerberos: a
 * credential of one mechanism that is used with another falls back to whatever the default cache holds, somebody else's
 * perhaps. Every call blocks its process.
 */

/** An opaque pointer of the library. */
export type Handle = unknown

/** A call that failed: `major` by RFC 2744 section 3.9.1, `minor` by the mechanism. */
export class GssFailure extends Error {
  override readonly name = 'GssFailure'
  readonly major: number
  readonly minor: number

  constructor(call: string, major: number, minor: number, text: string) {
    super(`${call}: ${text}`)
    this.major = major
    this.minor = minor
  }
}

export type Library = ReturnType<typeof openLibrary>

interface GssBuffer {
  length: number
  value: unknown
}

const continueNeeded = 1
const indefinite = 0xffffffff
const initiate = 1
const mechanismError = 2
/** Mutual authentication, replay and sequence detection; never delegation. */
const flags = 2 | 4 | 8
/** DER of the object identifiers, without tag and length. */
const oids = {
  kerberos: '2a864886f712010202',
  /** GSS_KRB5_NT_PRINCIPAL_NAME, GSS_KRB5_NT_ENTERPRISE_NAME. */
  principal: '2a864886f71201020201',
  enterprise: '2a864886f71201020206',
} as const

export type NameKind = 'principal' | 'enterprise'

/** @throws Error when the library is not there */
export function openLibrary() {
  const library = koffi.load('libgssapi_krb5.so.2')
  koffi.struct('gss_OID_desc', { length: 'uint32_t', elements: 'void *' })
  koffi.struct('gss_OID_set_desc', { count: 'size_t', elements: 'void *' })
  koffi.struct('gss_buffer_desc', { length: 'size_t', value: 'void *' })
  koffi.struct('gss_store_element', { key: 'void *', value: 'void *' })
  koffi.struct('gss_store', { count: 'uint32_t', elements: 'void *' })
  koffi.struct('gss_bindings', {
    initiatorType: 'uint32_t',
    initiatorAddress: 'gss_buffer_desc',
    acceptorType: 'uint32_t',
    acceptorAddress: 'gss_buffer_desc',
    applicationData: 'gss_buffer_desc',
  })
  const minor = '_Out_ uint32_t *minor'
  const call = (name: string, parameters: string) =>
    library.func(`uint32_t ${name}(${minor}, ${parameters})`)
  const importNameCall = call(
    'gss_import_name',
    'gss_buffer_desc *name, void *type, _Out_ void **out',
  )
  const displayNameCall = call(
    'gss_display_name',
    'void *name, _Out_ gss_buffer_desc *out, _Out_ void **type',
  )
  const releaseNameCall = call('gss_release_name', '_Inout_ void **name')
  const releaseBufferCall = call('gss_release_buffer', '_Inout_ gss_buffer_desc *buffer')
  const releaseCredentialsCall = call('gss_release_cred', '_Inout_ void **credentials')
  const deleteContextCall = call('gss_delete_sec_context', '_Inout_ void **context, void *token')
  const acquireCall = call(
    'gss_acquire_cred_from',
    'void *name, uint32_t lifetime, void *mechanisms, int usage, void *store, _Out_ void **out, void *actual, void *time',
  )
  const impersonateCall = call(
    'gss_acquire_cred_impersonate_name',
    'void *own, void *name, uint32_t lifetime, void *mechanisms, int usage, _Out_ void **out, void *actual, void *time',
  )
  const inquireCall = call(
    'gss_inquire_cred',
    'void *credentials, _Out_ void **name, _Out_ uint32_t *lifetime, void *usage, void *mechanisms',
  )
  const inquireContextCall = call(
    'gss_inquire_context',
    'void *context, _Out_ void **source, void *target, void *lifetime, void *mechanism, void *flags, void *local, void *open',
  )
  const initCall = call(
    'gss_init_sec_context',
    'void *credentials, _Inout_ void **context, void *target, void *mechanism, uint32_t flags, uint32_t lifetime, void *bindings, gss_buffer_desc *input, void *actual, _Out_ gss_buffer_desc *out, void *flagsOut, void *time',
  )
  const displayStatusCall = call(
    'gss_display_status',
    'uint32_t status, int type, void *mechanism, _Inout_ uint32_t *more, _Out_ gss_buffer_desc *out',
  )

  // ---- what lives as long as the process

  function toBytes(bytes: Buffer): unknown {
    const memory = koffi.alloc('uint8_t', bytes.length)
    koffi.encode(memory, koffi.array('uint8_t', bytes.length), [...bytes])
    return memory
  }
  function toOid(hex: string): unknown {
    const bytes = Buffer.from(hex, 'hex')
    const memory = koffi.alloc('gss_OID_desc', 1)
    koffi.encode(memory, 'gss_OID_desc', { length: bytes.length, elements: toBytes(bytes) })
    return memory
  }
  const kerberos = toOid(oids.kerberos)
  const nameTypes = { principal: toOid(oids.principal), enterprise: toOid(oids.enterprise) }
  const mechanisms = koffi.alloc('gss_OID_set_desc', 1)
  koffi.encode(mechanisms, 'gss_OID_set_desc', { count: 1, elements: kerberos })

  // ---- values

  function takeBuffer(buffer: GssBuffer): Buffer {
    const length = Number(buffer.length)
    const bytes =
      length > 0 ? Buffer.from(koffi.view(buffer.value, length).slice(0)) : Buffer.alloc(0)
    if (buffer.value) releaseBufferCall([0], buffer)
    return bytes
  }

  function check(name: string, major: number, [code]: number[]): number {
    if (major >>> 16 === 0) return major
    const more = [0]
    const text = {} as GssBuffer
    displayStatusCall([0], code, mechanismError, kerberos, more, text)
    throw new GssFailure(name, major >>> 0, code! >>> 0, takeBuffer(text).toString('utf8'))
  }

  function withName<Result>(text: string, kind: NameKind, use: (name: Handle) => Result): Result {
    const bytes = Buffer.from(text, 'utf8')
    const code = [0]
    const name: Handle[] = [null]
    check(
      'gss_import_name',
      importNameCall(code, { length: bytes.length, value: bytes }, nameTypes[kind], name),
      code,
    )
    try {
      return use(name[0])
    } finally {
      releaseNameCall([0], name)
    }
  }

  function takeName(name: Handle): string {
    if (!name) return ''
    const code = [0]
    const text = {} as GssBuffer
    try {
      check('gss_display_name', displayNameCall(code, name, text, [null]), code)
      return takeBuffer(text).toString('utf8')
    } finally {
      releaseNameCall([0], [name])
    }
  }

  return {
    /** Credentials of our own account. @param store such as `{ client_keytab, ccache }` */
    acquire(principal: string, store: Readonly<Record<string, string>>): Handle {
      const entries = Object.entries(store)
      const memory: unknown[] = []
      const toText = (text: string) => {
        const bytes = toBytes(Buffer.from(`${text}\0`, 'utf8'))
        memory.push(bytes)
        return bytes
      }
      const elements = koffi.alloc('gss_store_element', entries.length)
      entries.forEach(([key, value], index) => {
        koffi.encode(elements, index * koffi.sizeof('gss_store_element'), 'gss_store_element', {
          key: toText(key),
          value: toText(value),
        })
      })
      const set = koffi.alloc('gss_store', 1)
      memory.push(elements, set)
      koffi.encode(set, 'gss_store', { count: entries.length, elements })
      try {
        return withName(principal, 'principal', (name) => {
          const code = [0]
          const out: Handle[] = [null]
          const major = acquireCall(
            code,
            name,
            indefinite,
            mechanisms,
            initiate,
            set,
            out,
            null,
            null,
          )
          check('gss_acquire_cred_from', major, code)
          return out[0]
        })
      } finally {
        for (const pointer of memory) koffi.free(pointer)
      }
    },

    /** S4U2Self. @returns credentials of the user, which remember tickets for applications */
    impersonate(own: Handle, user: string, kind: NameKind): Handle {
      return withName(user, kind, (name) => {
        const code = [0]
        const out: Handle[] = [null]
        const major = impersonateCall(
          code,
          own,
          name,
          indefinite,
          mechanisms,
          initiate,
          out,
          null,
          null,
        )
        check('gss_acquire_cred_impersonate_name', major, code)
        return out[0]
      })
    },

    /** Whose credentials they are. Those of our own are asked of the KDC now, unless they are there. */
    inquire(credentials: Handle): { name: string; lifetimeSeconds: number } {
      const code = [0]
      const name: Handle[] = [null]
      const lifetime = [0]
      check('gss_inquire_cred', inquireCall(code, credentials, name, lifetime, null, null), code)
      return { name: takeName(name[0]), lifetimeSeconds: lifetime[0]! }
    },

    /**
     * The first token of a context, or what its answer leads to.
     *
     * @param input the answer
     * @returns the context, to be deleted; `done` when the other side has proved who it is
     */
    init(
      credentials: Handle,
      target: string,
      {
        context = null,
        binding,
        input,
      }: { context?: Handle; binding?: Buffer | undefined; input?: Buffer } = {},
    ): { context: Handle; token: Buffer; done: boolean } {
      const data = binding && toBytes(binding)
      const bindings = binding && koffi.alloc('gss_bindings', 1)
      if (bindings) {
        const none = { length: 0, value: null }
        koffi.encode(bindings, 'gss_bindings', {
          initiatorType: 0,
          initiatorAddress: none,
          acceptorType: 0,
          acceptorAddress: none,
          applicationData: { length: binding.length, value: data },
        })
      }
      try {
        return withName(target, 'principal', (name) => {
          const code = [0]
          const contexts: Handle[] = [context]
          const out = {} as GssBuffer
          const given = input ? { length: input.length, value: input } : null
          const major = initCall(
            code,
            credentials,
            contexts,
            name,
            kerberos,
            flags,
            0,
            bindings ?? null,
            given,
            null,
            out,
            null,
            null,
          )
          const token = takeBuffer(out)
          try {
            check('gss_init_sec_context', major, code)
          } catch (error) {
            // The first call makes it, whatever comes of it; a later one leaves it to whoever has it.
            if (context === null && contexts[0]) deleteContextCall([0], contexts, null)
            throw error
          }
          return { context: contexts[0], token, done: (major & continueNeeded) === 0 }
        })
      } finally {
        if (data) koffi.free(data)
        if (bindings) koffi.free(bindings)
      }
    },

    /** Who asked, of a context that is done. */
    sourceOf(context: Handle): string {
      const code = [0]
      const source: Handle[] = [null]
      const rest = [null, null, null, null, null, null]
      check('gss_inquire_context', inquireContextCall(code, context, source, ...rest), code)
      return takeName(source[0])
    },

    releaseCredentials(credentials: Handle): void {
      releaseCredentialsCall([0], [credentials])
    },

    deleteContext(context: Handle): void {
      deleteContextCall([0], [context], null)
    },
  }
}
