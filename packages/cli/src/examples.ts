import type { Command } from 'commander'

/** What a person is likely to want of each command; shown in its help and in the reference. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  serve: ['sallyport -c /etc/sallyport/sallyport.yaml serve'],
  status: ['sallyport status', 'sallyport status --json'],
  'user create': [
    'sallyport user create ana --display-name "Ana Lindqvist" --mail ana@example.com --password-stdin',
    'sallyport user create ben --disabled',
  ],
  'user list': ['sallyport user list', 'sallyport user list --json'],
  'user show': ['sallyport user show ana'],
  'user update': [
    'sallyport user update ana --display-name "Ana Lind" --mail ana@example.org',
    'sallyport user update ana --no-mail',
  ],
  'user set-password': [
    'sallyport user set-password ana',
    'pwgen 20 1 | sallyport user set-password ana',
  ],
  'user disable': ['sallyport user disable ana'],
  'user enable': ['sallyport user enable ana'],
  'user delete': ['sallyport user delete ana'],
  'group create': ['sallyport group create staff'],
  'group list': ['sallyport group list'],
  'group show': ['sallyport group show staff'],
  'group members': [
    'sallyport group members staff',
    'sallyport group members staff --transitive --json',
  ],
  'group update': ['sallyport group update staff --name employees'],
  'group delete': ['sallyport group delete staff'],
  'group add': ['sallyport group add staff ana', 'sallyport group add staff nurses --group'],
  'group remove': ['sallyport group remove staff ana'],
  'app create': [
    'sallyport app create hr --external-url https://hr.access.example.com/ --internal-url http://hr.internal:8080/',
    'sallyport app create wiki --external-url https://wiki.access.example.com/ --internal-url https://wiki.internal/ --header X-User=userName --header X-Groups=groups',
    `sallyport app create crm --external-url https://crm.access.example.com/ --internal-url http://crm.internal/ --header 'X-User=mail|extractMailPrefix|toUppercase' --jwt-assertion`,
    'sallyport app create payroll --linked https://payroll.saas.example/ --display-name Payroll',
  ],
  'app list': ['sallyport app list', 'sallyport app list --json'],
  'app show': ['sallyport app show hr'],
  'app update': [
    'sallyport app update hr backendTimeoutMs=20000 visible=false',
    'sallyport app update hr displayName="Human Resources" connectorGroup=branch',
    'sallyport app update hr backendTimeoutMs=null',
    `sallyport app update hr 'signOn={"method":"headers","headers":[{"name":"X-User","claim":"userName"}]}'`,
    `sallyport app update hr jwtAssertion=true 'stripHeaders=["Remote-User"]'`,
    `sallyport app update wiki 'signOn={"method":"password","kind":"form","signInPage":"/login"}'`,
  ],
  'app delete': ['sallyport app delete hr'],
  'app assign': ['sallyport app assign hr --group staff', 'sallyport app assign hr --user ana'],
  'app unassign': ['sallyport app unassign hr --user ana'],
  'app saml': ['sallyport app saml payroll --metadata payroll-sp.xml'],
  'app certificate list': ['sallyport app certificate list payroll'],
  'app certificate create': ['sallyport app certificate create payroll'],
  'app certificate activate': ['sallyport app certificate activate payroll 5f0c2a9be1d4'],
  'app certificate delete': ['sallyport app certificate delete payroll 83b1c6aa09fe'],
  'app oidc': ['sallyport app oidc wages'],
  'app secret list': ['sallyport app secret list wages'],
  'app secret create': ['sallyport app secret create wages'],
  'app secret delete': ['sallyport app secret delete wages 83b1c6aa09fe'],
  'connector-group create': ['sallyport connector-group create branch'],
  'connector-group list': ['sallyport connector-group list'],
  'connector-group delete': ['sallyport connector-group delete branch'],
  'connector list': ['sallyport connector list'],
  'connector show': ['sallyport connector show edge-1'],
  'connector move': ['sallyport connector move edge-1 --connector-group branch'],
  'connector revoke': ['sallyport connector revoke edge-1'],
  'connector trust-key': [
    'sallyport connector trust-key edge-1 mB0cBkT1DE2lqvBqYkFQ0tHJgYw0n8Yb3o2o1o5g0dE',
  ],
  'credential set': [
    'sallyport credential set wiki --user ana --login ana.lindqvist --password-file -',
    'sallyport credential set wiki --group staff --login readers --password-file /run/secrets/wiki',
  ],
  'credential list': ['sallyport credential list', 'sallyport credential list --app wiki'],
  'credential delete': ['sallyport credential delete wiki --user ana'],
  'token create': [
    'sallyport token create',
    'sallyport token create --connector-group branch --minutes 10',
  ],
  'token list': ['sallyport token list'],
  'token delete': ['sallyport token delete 0f6e2f0c-53a5-4c0e-8f4f-0c8f3a0a1b2c'],
  'session list': ['sallyport session list', 'sallyport session list --user ana'],
  'session end': ['sallyport session end 3q2-7wEvqx1H0tqbZl2Fz'],
  'session end-all': ['sallyport session end-all ana'],
  'db copy': [
    'sallyport db copy --to-config postgresql.yaml',
    'sallyport db copy --to-config postgresql.yaml --replace',
  ],
  'key list': ['sallyport key list', 'sallyport key list --use assertions'],
  'key jwks': ['sallyport key jwks > jwks.json'],
  'key rotate': [
    'sallyport key rotate',
    'sallyport key rotate --forget-older',
    'sallyport key rotate --use assertions',
  ],
  'audit list': [
    'sallyport audit list --limit 20',
    'sallyport audit list --action user-disabled --json',
  ],
  apply: [
    'sallyport apply -f config --plan',
    'sallyport apply -f config',
    'sallyport apply -f config --prune application,group --plan',
    'sallyport apply -f config --expect 912a2ef4c1fa1a73',
  ],
  export: [
    'sallyport export',
    'sallyport export -o config',
    'sallyport export -o config --replace',
  ],
  schema: ['sallyport schema > sallyport.schema.json', 'sallyport schema service'],
  backup: [
    'sallyport backup /var/backups/sallyport.db --replace',
    'sallyport backup sallyport.db --include-key',
  ],
  restore: [
    'sallyport restore sallyport.db --check',
    'sallyport restore sallyport.db',
    'sallyport restore --in-place',
  ],
}

/** The words by which a command is called, without the program. */
export function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}`.trim() : ''
}

/** To be called when all commands are there. */
export function addExamples(command: Command): void {
  const own = examples[pathOf(command)] ?? []
  if (own.length > 0)
    command.addHelpText(
      'after',
      `\n${own.length === 1 ? 'Example' : 'Examples'}:\n${own.map((line) => `  ${line}`).join('\n')}`,
    )
  for (const below of command.commands) addExamples(below)
}
