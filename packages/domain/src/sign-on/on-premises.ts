import { z } from 'zod'

// What a directory could take for another name, or for two (MS-SAMR section 3.1.1.6). The connector checks again.
const accountName =
  /^[^"/\\[\]:;|=,+*?<>@\p{C}\p{Z}](?:[^"/\\[\]:;|=,+*?<>@\p{C}]*[^"/\\[\]:;|=,+*?<>@\p{C}\p{Z}])?$/u
const principalName = /^[^@/\\"\p{C}\p{Z}]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/u
const domainName =
  /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+$/

/** What the directory on premises calls a person; Entra's names. Applications of that directory know the person by them. */
export const onPremisesSchemas = {
  onPremisesUserPrincipalName: z
    .string()
    .max(256)
    .regex(principalName, 'must be a userPrincipalName such as ana@corp.example')
    .describe('userPrincipalName in Active Directory, such as ana@corp.example.'),
  onPremisesSamAccountName: z
    .string()
    .max(256)
    .regex(accountName, 'must be a sAMAccountName such as ana, without a domain')
    .describe('sAMAccountName in Active Directory, spelt as it is there, such as ana.'),
  onPremisesDomainName: z
    .string()
    .max(253)
    .regex(domainName, 'must be the DNS name of a domain such as corp.example')
    .describe('DNS name of the Active Directory domain, such as corp.example.'),
} as const

export type OnPremisesAttribute = keyof typeof onPremisesSchemas

export const onPremisesAttributes = Object.keys(onPremisesSchemas) as OnPremisesAttribute[]

/** Those attributes that are known of a person. */
export type OnPremises = { readonly [Name in OnPremisesAttribute]?: string | undefined }
