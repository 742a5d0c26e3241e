import { generateKeyPairSync } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { checkAuthorities } from './certificate.ts'
import {
  type ClientCertificateSettings,
  findClientCertificateProblems,
} from './client-certificate.ts'
import { ConnectorError, findErrorCode } from './errors.ts'
import { findKerberosProblems, type KerberosSettings } from './sign-on/kerberos-settings.ts'

/** What enrolment leaves behind, and what an administrator may edit: `connector.json`. */
export interface ConnectorSettings {
  /** `https://connect.<base domain>[:port]`. */
  service: string
  connectorId: string
  connectorGroup: string
  name: string
  /** Rules as `parseAllowRules` reads them. */
  allow: readonly string[]
  /** HTTP proxy towards the service; may hold credentials. */
  proxy?: string
  /** HTTP proxy towards origins. */
  originProxy?: string
  /** Absolute path of a PEM file: a private CA that origins' certificates come from. */
  originCaFile?: string
  /** What is shown to origins that ask for a certificate. */
  originClientCertificates?: readonly ClientCertificateSettings[]
  /** Accounts by which people are signed on by Kerberos; an SPN goes to the first that is for it. */
  kerberos?: readonly KerberosSettings[]
}

/** Everything in the state directory. */
export interface ConnectorState {
  settings: ConnectorSettings
  /** PKCS #8 PEM. */
  keyPem: string
  /** The connector's certificate, perhaps with intermediates. */
  certificatePem: string
  /** The pinned CA bundle. */
  caPem: string
}

const files = {
  settings: 'connector.json',
  key: 'connector.key',
  certificate: 'connector.pem',
  ca: 'ca.pem',
  sealingKey: 'sealing.key',
  status: 'status.sock',
} as const

export function statusSocketPath(stateDir: string): string {
  return join(stateDir, files.status)
}

export function isEnrolled(stateDir: string): boolean {
  return findFile(stateDir, files.settings) !== undefined
}

/**
 * @throws ConnectorError `NOT_ENROLLED`, `STATE_INVALID`
 */
export function readState(stateDir: string): ConnectorState {
  const text = findFile(stateDir, files.settings)
  if (text === undefined)
    throw new ConnectorError(
      'NOT_ENROLLED',
      `${stateDir} holds no enrolled connector: enrol it first`,
    )
  checkPrivate(join(stateDir, files.key))
  return {
    settings: parseSettings(text, join(stateDir, files.settings)),
    keyPem: readFile(stateDir, files.key),
    certificatePem: readFile(stateDir, files.certificate),
    caPem: readFile(stateDir, files.ca),
  }
}

/**
 * Writes a new identity. The settings go last: without them the directory counts as not enrolled.
 */
export function writeState(stateDir: string, state: ConnectorState): void {
  prepareStateDir(stateDir)
  writeAtomically(stateDir, files.key, state.keyPem)
  writeAtomically(stateDir, files.certificate, state.certificatePem)
  writeAtomically(stateDir, files.ca, state.caPem)
  writeAtomically(stateDir, files.settings, `${JSON.stringify(state.settings, null, 2)}\n`)
}

/**
 * Replaces certificate and bundle after a renewal; either the old or the new one is found there,
 * never a part.
 */
export function writeRenewed(stateDir: string, certificatePem: string, caPem: string): void {
  writeAtomically(stateDir, files.ca, caPem)
  writeAtomically(stateDir, files.certificate, certificatePem)
}

/**
 * The key that passwords are sealed to; made if there is none. It never leaves the directory, and without it what was
 * sealed to this connector opens no more.
 *
 * @returns PKCS #8 PEM
 * @throws ConnectorError `STATE_INVALID` when others can read it
 */
export function readSealingKeyPem(stateDir: string): string {
  const path = join(stateDir, files.sealingKey)
  const known = findFile(stateDir, files.sealingKey)
  if (known !== undefined) {
    checkPrivate(path)
    return known
  }
  const { privateKey } = generateKeyPairSync('x25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  prepareStateDir(stateDir)
  writeAtomically(stateDir, files.sealingKey, pem)
  return pem
}

function checkPrivate(path: string): void {
  const { mode } = statSync(path, { throwIfNoEntry: false }) ?? { mode: 0 }
  if ((mode & 0o077) !== 0)
    throw new ConnectorError(
      'STATE_INVALID',
      `${path} can be read by other users: its mode must be 0600`,
    )
}

/**
 * Reads a CA for origins.
 *
 * @returns PEM
 * @throws ConnectorError `STATE_INVALID`
 */
export function readAuthorities(file: string): string {
  let pem: string
  try {
    pem = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new ConnectorError('STATE_INVALID', `the CA file for origins cannot be read: ${file}`, {
      cause,
    })
  }
  checkAuthorities(pem, file)
  return pem
}

/** Makes the directory, for its owner only. */
export function prepareStateDir(stateDir: string): void {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  chmodSync(stateDir, 0o700)
}

function writeAtomically(stateDir: string, file: string, content: string): void {
  const temporary = join(stateDir, `.${file}.new`)
  const descriptor = openSync(temporary, 'w', 0o600)
  try {
    writeSync(descriptor, content)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
  chmodSync(temporary, 0o600)
  renameSync(temporary, join(stateDir, file))
  const directory = openSync(stateDir, 'r')
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

function findFile(stateDir: string, file: string): string | undefined {
  try {
    return readFileSync(join(stateDir, file), 'utf8')
  } catch (error) {
    if (findErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

function readFile(stateDir: string, file: string): string {
  const text = findFile(stateDir, file)
  if (text === undefined)
    throw new ConnectorError('STATE_INVALID', `${join(stateDir, file)} is missing: enrol again`)
  return text
}

function parseSettings(text: string, path: string): ConnectorSettings {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ConnectorError('STATE_INVALID', `${path} is no JSON`, { cause })
  }
  const problems = findProblems(value)
  if (problems.length > 0)
    throw new ConnectorError('STATE_INVALID', `${path}: ${problems.join('; ')}`, { problems })
  return value as ConnectorSettings
}

const required = ['service', 'connectorId', 'connectorGroup', 'name'] as const
const optional = ['proxy', 'originProxy', 'originCaFile'] as const

function findProblems(value: unknown): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return ['must be an object']
  const settings = value as Record<string, unknown>
  const problems: string[] = []
  for (const key of required)
    if (typeof settings[key] !== 'string' || settings[key] === '')
      problems.push(`${key}: must be a text`)
  for (const key of optional)
    if (settings[key] !== undefined && typeof settings[key] !== 'string')
      problems.push(`${key}: must be a text`)
  const { allow } = settings
  if (!Array.isArray(allow) || !allow.every((rule) => typeof rule === 'string'))
    problems.push('allow: must be a list of rules')
  if (settings.originClientCertificates !== undefined)
    problems.push(...findClientCertificateProblems(settings.originClientCertificates))
  if (settings.kerberos !== undefined) problems.push(...findKerberosProblems(settings.kerberos))
  const known = new Set<string>([
    ...required,
    ...optional,
    'allow',
    'originClientCertificates',
    'kerberos',
  ])
  for (const key of Object.keys(settings)) if (!known.has(key)) problems.push(`${key}: is unknown`)
  return problems
}
