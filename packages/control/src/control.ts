import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Problem, Snapshot } from '@sallyport/domain'
import {
  AuditNotices,
  connectorGroups,
  enrolmentTokens,
  type Store,
  settings,
} from '@sallyport/store'
import { AssertionKeys, type AssertionRing, deleteLapsedAssertionKeys } from './assertion-keys.ts'
import { type Authorities, loadAuthorities } from './authorities.ts'
import { Challenges } from './challenges.ts'
import { type CommandTable, unknownCommand } from './command.ts'
import { createCommands } from './commands/table.ts'
import { Configuration, type Db } from './configuration.ts'
import {
  type AuthenticatedConnector,
  ConnectorAuthentication,
  type TunnelPeer,
} from './connector-authentication.ts'
import { type CookieKey, CookieKeys, deleteLapsedKeys } from './cookie-keys.ts'
import { Enrolment } from './enrolment.ts'
import { EnrolmentHttp } from './enrolment-http.ts'
import { ControlError } from './errors.ts'
import type { KeyFile } from './key-file.ts'
import type { Log } from './log.ts'
import { ownPasswords } from './own-passwords.ts'
import { Refusals } from './refusals.ts'
import { Rereading } from './rereading.ts'
import { keepAuditShort } from './retention.ts'
import { prepareSamlCertificates } from './saml-certificates.ts'
import { SealingKeys, SealingRequests } from './sealing-keys.ts'
import { type AnswerSignOnCheck, SignOnCheckRequests } from './sign-on-check.ts'
import { SignOnKey } from './sign-on-key.ts'
import {
  type CertificateFacts,
  type ConfiguredCertificate,
  type ServerPair,
  WebCertificates,
} from './web-certificates.ts'

const maintenanceIntervalMs = 3_600_000
/** So long a used token is remembered, and its replay noticed. */
const tokenHistoryMs = 30 * 86_400_000
const defaultRetentionMs = 365 * 86_400_000
/**
 * Changes of one transaction, during which nobody else gets at the database. Others wait 10 s for that at most; 5,000
 * memberships were made in 4 s.
 */
const limitSharedSteps = 5_000

export interface ControlOptions {
  /** Stays the caller's to close, after control. */
  store: Store
  /** Made with mode 0700 if it does not exist. */
  dataDir: string
  keyFile: KeyFile
  /** Lower case. Cannot change once the service was started with it. */
  baseDomain: string
  /** The port in URLs. */
  port: number
  hashPassword(password: string): Promise<string>
  /** Nobody else waits for the database: a change may take as long as it takes. */
  isAlone?: boolean
  /** Server certificates of the operator's own; they go before those of the built-in authority. */
  certificates?: readonly ConfiguredCertificate[]
  /** How long audit events are kept, milliseconds; a year unless given. */
  auditRetentionMs?: number
  /** How many tunnels of a connector are up, for lists. */
  countTunnels?: (connectorId: string) => number
  /** What a connector is told that wants to try a sign-on; without it such questions are not answered. */
  answerSignOnCheck?: AnswerSignOnCheck
  /** What `status` says beside what control knows by itself, such as certificates and warnings. */
  statusFacts?: () => object
  /** Epoch milliseconds. */
  clock?: () => number
  log: Log
  /**
   * Starts although the stored configuration is invalid, such as after the port was changed, so that
   * commands can mend it. No application is published then.
   */
  acceptInvalidConfiguration?: boolean
}

/** Configuration, certificates and connectors of one service. */
export interface Control {
  readonly tenantId: string
  /** The configuration in force. */
  snapshot(): Snapshot
  onSnapshot(listener: (snapshot: Snapshot) => void): () => void
  /**
   * Reads the stored configuration and keys, for whoever may have missed that they changed.
   *
   * @throws StoreError when they could not be read: what was in force stays so
   */
  reload(): Promise<void>
  /**
   * The keys of cookies that live at most so long, the one that seals first; the same array until they change.
   */
  cookieKeys(lifetimeMs: number): readonly CookieKey[]
  /** The keys of assertions as they are now; the same object until they change. */
  assertionKeys(): AssertionRing
  readonly commands: CommandTable
  /**
   * Carries out a command. What it changes is in force, and published, when this returns.
   *
   * @param actor who asks, for the audit log
   * @throws ControlError `COMMAND_UNKNOWN`, `INPUT_INVALID`, `NOT_FOUND`, `CONFLICT`,
   *   `CONFIGURATION_INVALID`, with every problem
   */
  execute(name: string, input: unknown, actor: string): Promise<unknown>
  /**
   * Who a tunnel's other end is. TLS has checked that it holds the certificate's key.
   *
   * @throws ControlError `CERTIFICATE_INVALID`, `CERTIFICATE_EXPIRED`, `CERTIFICATE_SUPERSEDED`,
   *   `CONNECTOR_UNKNOWN`, `CONNECTOR_REVOKED`
   */
  authenticateConnector(certificate: TunnelPeer): Promise<AuthenticatedConnector>
  /** Answers requests on `connect.<base>` with ALPN `sallyport-enroll/1`. */
  handleEnrolment(request: IncomingMessage, response: ServerResponse): void
  /** Trust anchor for connectors, and theirs for `connect.<base>`. `fingerprint` is base64url SHA-256. */
  readonly connectorCa: { certificatePem: string; fingerprint: string }
  /** Key and certificate chain, root included, of `connect.<base>`. */
  connectServerContext(): { key: string; cert: string }
  /** By which identity tells connectors who a person is; the same promise until it is renewed. PEM. */
  signOnKey(): Promise<{ keyPem: string; certificatePem: string }>
  /** Where the passwords are kept that people enter for applications. */
  readonly passwords: {
    /** @returns what is wrong; nothing when it is kept */
    set(input: {
      applicationId: string
      userId: string
      userName: string
      password: string
    }): Promise<readonly Problem[]>
    /** Forgets a person's own; nothing happens when there is none. */
    remove(input: { applicationId: string; userId: string }): Promise<void>
    /** How many connectors of a group may keep passwords. */
    countKeepers(connectorGroup: string): Promise<number>
  }
  /** Trust anchor for browsers, constrained to the base domain. */
  readonly webCa: { certificatePem: string }
  /**
   * Key and certificate chain for a host; undefined when nobody may see one. The same object until
   * the certificate is renewed, so that what is made of it can be kept.
   */
  serverContext(host: string): ServerPair | undefined
  /** The certificates of the operator's own, in the order in which they were given. */
  certificateFacts(): CertificateFacts[]
  /**
   * Puts another certificate in the place of one of them.
   *
   * @throws ControlError `SERVER_CERTIFICATE_INVALID`; the old one stays then
   */
  replaceCertificate(index: number, pem: ConfiguredCertificate): void
  close(): Promise<void>
}

/**
 * Starts control on an open store; makes tenant ID, authorities and the connector group `default` at
 * the first start.
 *
 * @throws ControlError `KEY_FILE_MISMATCH`, `BASE_DOMAIN_CHANGED`, `SERVER_CERTIFICATE_INVALID`,
 *   `CONFIGURATION_INVALID`
 */
export async function startControl(options: ControlOptions): Promise<Control> {
  const { store, dataDir, keyFile, baseDomain, port, log, hashPassword } = options
  const { clock = Date.now, countTunnels = () => 0, statusFacts = () => ({}) } = options
  const { auditRetentionMs = defaultRetentionMs } = options
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  // One transaction: a start that was interrupted leaves nothing half made.
  const { tenantId, authorities, cookieKeys, assertionKeys } = await store.db
    .transaction()
    .execute(async (db) => ({
      tenantId: await readIdentity(db, baseDomain, clock()),
      authorities: await loadAuthorities(db, keyFile, baseDomain, clock()),
      cookieKeys: await CookieKeys.load(db, keyFile, clock),
      assertionKeys: await AssertionKeys.load(db, keyFile, clock),
    }))
  const certificates = new WebCertificates({
    db: store.db,
    keyFile,
    authority: authorities.web,
    baseDomain,
    configured: options.certificates ?? [],
    clock,
  })
  const configuration = await Configuration.load({
    store,
    baseDomain,
    port,
    clock,
    log,
    acceptInvalid: options.acceptInvalidConfiguration ?? false,
  })
  const prepare = async () => {
    const { snapshot } = configuration
    await certificates.prepare(snapshot)
    await prepareSamlCertificates(store.db, keyFile, snapshot, clock())
  }
  let preparing = prepare()
  try {
    await preparing
  } catch (error) {
    await configuration.close()
    throw error
  }
  const prepareCertificates = () => {
    preparing = preparing
      .then(prepare)
      .catch((error: unknown) => log.error({ err: error }, 'a certificate could not be made'))
  }
  configuration.onSnapshot(prepareCertificates)

  const service = `https://connect.${baseDomain}${port === 443 ? '' : `:${port}`}`
  const sealingKeys = new SealingKeys(keyFile)
  const commands = createCommands({
    db: store.db,
    configuration,
    cookieKeys,
    assertionKeys,
    keyFile,
    sealingKeys,
    clock,
    dataDir,
    hashPassword,
    limitSteps: options.isAlone ? Number.POSITIVE_INFINITY : limitSharedSteps,
    countTunnels,
    statusFacts,
    facts: {
      tenantId,
      baseDomain,
      port,
      service,
      connectorCaFingerprint: authorities.connector.fingerprint,
    },
  })
  const authentication = new ConnectorAuthentication({
    store,
    authority: authorities.connector,
    baseDomain,
    clock,
    log,
  })
  const challenges = new Challenges(authentication, keyFile, clock)
  const enrolment = new EnrolmentHttp({
    enrolment: new Enrolment({
      store,
      configuration,
      authority: authorities.connector,
      challenges,
      baseDomain,
      service,
      clock,
      log,
    }),
    challenges,
    sealing: new SealingRequests({ keys: sealingKeys, challenges, configuration, db: store.db }),
    signOnChecks:
      options.answerSignOnCheck &&
      new SignOnCheckRequests({
        challenges,
        answer: options.answerSignOnCheck,
        db: store.db,
        clock,
      }),
    refusals: new Refusals(new AuditNotices({ db: store.db, clock })),
    clock,
    log,
  })
  const signOnKey = new SignOnKey({
    db: store.db,
    keyFile,
    authority: authorities.connector,
    baseDomain,
    clock,
  })
  let trimming: Promise<unknown> = Promise.resolve()
  // Another process may have made the key: cookies sealed with it come here too.
  const rereadingKeys = new Rereading(
    async () => {
      await cookieKeys.reload(store.db)
      await assertionKeys.reload(store.db)
    },
    (error) => log.error({ err: error }, 'keys could not be read'),
  )
  const unsubscribe = store.feed.subscribe(({ kind }) => {
    if (kind === 'keys-changed' || kind === 'feed-interrupted') rereadingKeys.request()
  })
  const maintenance = setInterval(() => {
    prepareCertificates()
    for (const deleteLapsed of [deleteLapsedKeys, deleteLapsedAssertionKeys])
      deleteLapsed(store.db, clock()).catch((error: unknown) =>
        log.error({ err: error }, 'old keys could not be removed'),
      )
    enrolmentTokens
      .deleteEnrolmentTokensBefore(store.db, clock() - tokenHistoryMs)
      .catch((error: unknown) => log.error({ err: error }, 'old tokens could not be removed'))
    trimming = keepAuditShort(store.db, auditRetentionMs, clock()).catch((error: unknown) =>
      log.error({ err: error }, 'old audit events could not be removed'),
    )
  }, maintenanceIntervalMs)
  maintenance.unref()

  return {
    tenantId,
    snapshot: () => configuration.snapshot,
    onSnapshot: (listener) => configuration.onSnapshot(listener),
    async reload() {
      await cookieKeys.reload(store.db)
      await assertionKeys.reload(store.db)
      await configuration.reload()
    },
    cookieKeys: (lifetimeMs) => cookieKeys.ring(lifetimeMs),
    assertionKeys: () => assertionKeys.ring(),
    commands,
    async execute(name, input, actor) {
      const command = commands.get(name)
      if (!command) throw unknownCommand(name, commands)
      const result = await command.run(input ?? {}, actor)
      // A host that was just published has its certificate when its administrator is told so.
      await preparing
      return result
    },
    authenticateConnector: (certificate) => authentication.authenticate(certificate),
    handleEnrolment: (request, response) => enrolment.handle(request, response),
    ...facesOf(authorities),
    signOnKey: () => signOnKey.current(),
    passwords: ownPasswords({ db: store.db, configuration, sealingKeys }),
    serverContext: (host) => certificates.find(host),
    certificateFacts: () => certificates.facts(),
    replaceCertificate: (index, pem) => certificates.replace(index, pem),
    async close() {
      clearInterval(maintenance)
      unsubscribe()
      await rereadingKeys.close()
      await configuration.close()
      await preparing
      await trimming
    },
  }
}

function facesOf({ connector, web, connect }: Authorities) {
  return {
    connectorCa: {
      certificatePem: connector.certificatePem,
      fingerprint: connector.fingerprint,
    },
    connectServerContext: () => ({ ...connect }),
    webCa: { certificatePem: web.certificatePem },
  }
}

/** @returns the tenant ID */
async function readIdentity(db: Db, baseDomain: string, nowAt: number): Promise<string> {
  const stored = await settings.findSetting(db, 'baseDomain')
  if (stored !== undefined && stored !== baseDomain)
    throw new ControlError(
      'BASE_DOMAIN_CHANGED',
      `this database belongs to ${stored}, and the configuration says ${baseDomain}; set baseDomain back, or use another dataDir`,
    )
  await settings.saveSetting(db, 'baseDomain', baseDomain)
  const known = await settings.findSetting(db, 'tenantId')
  if (known !== undefined) return known
  const tenantId = randomUUID()
  await settings.saveSetting(db, 'tenantId', tenantId)
  await connectorGroups.createConnectorGroup(db, { name: 'default' }, nowAt)
  return tenantId
}
