import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { findAddress, formatAddress } from '../src/address.ts'
import { AllowList, parseAllowRules } from '../src/allow-list.ts'
import { parseDestination, resolveDestination } from '../src/destination.ts'
import { ConnectorError } from '../src/errors.ts'
import { OriginFailure } from '../src/failure.ts'

function permits(
  rules: readonly string[],
  name: string | undefined,
  address: string,
  port = 80,
  own: readonly string[] = [],
): boolean {
  const list = new AllowList(parseAllowRules(rules), () => own)
  return list.judge(name, findAddress(address)!, port).permitted
}

/** What would be dialled for a URL, or the reset code of the refusal. */
async function dialled(
  rules: readonly string[],
  url: string,
  answers: Record<string, readonly string[]> = {},
): Promise<string[] | string> {
  const list = new AllowList(parseAllowRules(rules), () => [])
  try {
    return await resolveDestination(parseDestination(url), list, async (name) => {
      const found = answers[name]
      if (!found) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })
      return found
    })
  } catch (error) {
    assert(error instanceof OriginFailure)
    return error.resetCode === ResetCode.DESTINATION_FORBIDDEN ? 'forbidden' : 'unresolved'
  }
}

test('an empty list permits nothing', () => {
  assert.equal(permits([], 'app.internal', '10.0.0.1'), false)
  assert.equal(permits([], undefined, '8.8.8.8'), false)
})

test('a rule without a port permits every port, one with a port that port alone', () => {
  assert.equal(permits(['app.internal'], 'app.internal', '10.0.0.1', 8443), true)
  assert.equal(permits(['app.internal:80'], 'app.internal', '10.0.0.1', 80), true)
  assert.equal(permits(['app.internal:80'], 'app.internal', '10.0.0.1', 81), false)
  assert.equal(permits(['10.0.0.0/8:80'], undefined, '10.9.9.9', 81), false)
  assert.equal(permits(['[fd00::/8]:443'], undefined, 'fd12::1', 443), true)
  assert.equal(permits(['[fd00::/8]:443'], undefined, 'fd12::1', 80), false)
  assert.equal(permits(['fd00::/8'], undefined, 'fd12::1', 80), true)
  assert.equal(permits(['[fd12::1]:80'], undefined, 'fd12::1', 80), true)
  assert.equal(permits(['fd12::1'], undefined, 'fd12::1', 9), true)
})

test('a host rule is for that name, in any case, and for no name that ends in it', () => {
  assert.equal(permits(['App.Internal.'], 'app.internal', '10.0.0.1'), true)
  assert.equal(permits(['app.internal'], 'evil-app.internal', '10.0.0.1'), false)
  assert.equal(permits(['app.internal'], 'x.app.internal', '10.0.0.1'), false)
  assert.equal(permits(['app.internal'], undefined, '10.0.0.1'), false)
})

test('a suffix rule is for names below it, not for itself or a name that merely ends alike', () => {
  assert.equal(permits(['*.corp.example:80'], 'a.corp.example', '10.0.0.1'), true)
  assert.equal(permits(['*.corp.example:80'], 'a.b.corp.example', '10.0.0.1'), true)
  assert.equal(permits(['*.corp.example:80'], 'corp.example', '10.0.0.1'), false)
  assert.equal(permits(['*.corp.example:80'], 'evilcorp.example', '10.0.0.1'), false)
})

test('a CIDR rule is for addresses, whatever name led to them', () => {
  assert.equal(permits(['10.0.0.0/8'], 'anything.example', '10.255.0.1'), true)
  assert.equal(permits(['10.0.0.0/8'], undefined, '11.0.0.1'), false)
  assert.equal(permits(['10.0.0.128/25'], undefined, '10.0.0.127'), false)
  assert.equal(permits(['10.0.0.128/25'], undefined, '10.0.0.129'), true)
  assert.equal(permits(['0.0.0.0/0'], undefined, '8.8.8.8'), true)
  assert.equal(permits(['0.0.0.0/0'], undefined, '2600::1'), false)
})

test('the word private stands for RFC 1918 and unique local addresses', () => {
  for (const address of ['10.1.1.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fd00::1'])
    assert.equal(permits(['private'], undefined, address), true, address)
  for (const address of [
    '172.32.0.1',
    '8.8.8.8',
    '127.0.0.1',
    '169.254.1.1',
    'fe80::1',
    '100.64.0.1',
  ])
    assert.equal(permits(['private'], undefined, address), false, address)
})

const neverByAccident = [
  '127.0.0.1',
  '127.8.9.10',
  '::1',
  '0.0.0.0',
  '0.1.2.3',
  '::',
  '169.254.0.1',
  'fe80::1',
  'febf::1',
  '224.0.0.1',
  'ff02::1',
  '255.255.255.255',
  '169.254.169.254',
  '169.254.170.2',
  '100.100.100.200',
  '168.63.129.16',
  'fd00:ec2::254',
  'fd20:ce::254',
  // IPv4-mapped, IPv4-compatible, translated, NAT64, 6to4, Teredo and ISATAP forms.
  '::ffff:127.0.0.1',
  '::ffff:169.254.169.254',
  '::ffff:0:127.0.0.1',
  '::127.0.0.1',
  '64:ff9b::127.0.0.1',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b:1::169.254.169.254',
  '64:ff9b:1:7f00:0:100::',
  '2002:7f00:1::1',
  '2002:a9fe:a9fe::',
  '2001:0:4136:e378:8000:63bf:5601:5601',
  '2600::5efe:127.0.0.1',
  '2600::200:5efe:169.254.169.254',
]

test('loopback, link-local, unspecified, multicast, broadcast and metadata addresses are refused in every form', () => {
  for (const address of neverByAccident) {
    const wide = ['0.0.0.0/0', '::/0', 'private', 'evil.example', '*.example']
    assert.equal(permits(wide, 'evil.example', address), false, address)
    assert.equal(permits(wide, undefined, address), false, address)
  }
})

test('such an address is permitted by a rule that names it', () => {
  for (const address of neverByAccident)
    assert.equal(permits([address], undefined, address), true, address)
})

test('a block within loopback names loopback; a block within link-local does not name the metadata service', () => {
  assert.equal(permits(['127.0.0.0/8'], undefined, '127.0.0.2'), true)
  assert.equal(permits(['126.0.0.0/7'], undefined, '127.0.0.2'), false)
  assert.equal(permits(['169.254.0.0/16'], undefined, '169.254.7.7'), true)
  assert.equal(permits(['169.254.0.0/16'], undefined, '169.254.169.254'), false)
  assert.equal(permits(['fd00::/8'], undefined, 'fd00:ec2::254'), false)
})

test('localhost means loopback, by name and by address, and names below it their own name only', () => {
  assert.equal(permits(['localhost:9000'], 'localhost', '127.0.0.1', 9000), true)
  assert.equal(permits(['localhost:9000'], 'localhost', '::1', 9000), true)
  assert.equal(permits(['localhost:9000'], undefined, '127.0.0.1', 9000), true)
  assert.equal(permits(['localhost:9000'], undefined, '127.0.0.1', 9001), false)
  assert.equal(permits(['localhost:9000'], undefined, '127.0.0.2', 9000), false)
  assert.equal(permits(['localhost'], 'localhost', '169.254.169.254'), false)
  assert.equal(permits(['a.localhost:9000'], 'a.localhost', '127.0.0.1', 9000), true)
  assert.equal(permits(['a.localhost:9000'], 'a.localhost', '::1', 9000), true)
  assert.equal(permits(['a.localhost:9000'], undefined, '127.0.0.1', 9000), false)
  assert.equal(permits(['*.localhost:9000'], 'b.localhost', '127.0.0.1', 9000), true)
})

test("the machine's own addresses are refused unless named one by one", () => {
  const own = ['10.0.0.5', 'fd00::5']
  assert.equal(permits(['10.0.0.0/8'], undefined, '10.0.0.5', 80, own), false)
  assert.equal(permits(['self.internal'], 'self.internal', '10.0.0.5', 80, own), false)
  assert.equal(permits(['10.0.0.5:80'], undefined, '10.0.0.5', 80, own), true)
  assert.equal(permits(['10.0.0.0/8'], undefined, '10.0.0.6', 80, own), true)
  assert.equal(permits(['fd00::/8'], undefined, 'fd00::5', 80, own), false)
  assert.equal(permits(['::/0'], undefined, '64:ff9b::10.0.0.5', 80, own), false)
  const list = new AllowList(parseAllowRules(['10.0.0.0/8']), () => own)
  const verdict = list.judge(undefined, findAddress('10.0.0.5')!, 80)
  assert(!verdict.permitted)
  assert.equal(verdict.class, 'own-address')
})

test('the real addresses of this machine are known', async () => {
  const { networkInterfaces } = await import('node:os')
  const list = new AllowList(parseAllowRules(['0.0.0.0/0', '::/0']))
  for (const entries of Object.values(networkInterfaces()))
    for (const { address } of entries ?? []) {
      const verdict = list.judge(undefined, findAddress(address)!, 80)
      assert.equal(verdict.permitted, false, address)
    }
})

test('rules that cannot be read are all reported at once', () => {
  const bad = [
    '',
    '*',
    'a b',
    'host:0',
    'host:65536',
    'host:x',
    'host:',
    '10.0.0.5/8',
    '10.0.0.0/33',
    '10.0.0.0/08',
    'fd00::/129',
    'x/8',
    '2130706433',
    '0x7f000001:80',
    '127.1:80',
    '[fe80::1%eth0]:80',
    'fe80::1%eth0',
    'http://host',
    '*.*.example',
    '-x.example',
    '[host]:80',
    '::ffff:10.0.0.0/104',
  ]
  try {
    parseAllowRules([...bad, 'good.example:80'])
    assert.fail('was accepted')
  } catch (error) {
    assert(error instanceof ConnectorError)
    assert.equal(error.code, 'ALLOW_RULE_INVALID')
    assert.deepEqual(
      error.problems.map((problem, index) => problem.startsWith(`${bad[index]}: `)),
      bad.map(() => true),
    )
  }
})

test('odd spellings of an IPv4 address are the address they mean', async () => {
  for (const host of ['2130706433', '0x7f000001', '0177.0.0.1', '127.1', '127.0.0.1.', '0x7f.1'])
    assert.deepEqual(await dialled(['0.0.0.0/0'], `http://${host}/`), 'forbidden', host)
  assert.deepEqual(await dialled(['127.0.0.1'], 'http://0x7f000001/'), ['127.0.0.1'])
  assert.deepEqual(await dialled(['10.0.0.0/8'], 'http://0xa000001:81/'), ['10.0.0.1'])
  assert.deepEqual(await dialled(['10.0.0.0/8'], 'http://[::ffff:10.0.0.1]/'), ['10.0.0.1'])
  assert.equal(await dialled(['0.0.0.0/0', '::/0'], 'http://[::ffff:7f00:1]/'), 'forbidden')
})

test('what is no bare http or https origin is refused', async () => {
  for (const url of [
    'file:///etc/passwd',
    'ftp://10.0.0.1/',
    'http://10.0.0.1/path',
    'http://10.0.0.1/?q',
    'http://10.0.0.1/#f',
    'http://user@10.0.0.1/',
    'http://[fe80::1%25eth0]/',
    'http://[fe80::1%eth0]/',
    'http://10.0.0.1:0/',
    'http://10.0.0.1:99999/',
    'http:///',
    '10.0.0.1',
    '',
  ])
    assert.equal(await dialled(['0.0.0.0/0', '::/0'], url), 'forbidden', url)
})

test('a name is dialled at those of its addresses that are permitted', async () => {
  const answers = {
    'app.internal': ['10.0.0.1', '169.254.169.254', '127.0.0.1', 'fe80::1%eth0', '8.8.8.8'],
  }
  assert.deepEqual(await dialled(['app.internal'], 'http://app.internal/', answers), [
    '10.0.0.1',
    '8.8.8.8',
  ])
  assert.deepEqual(await dialled(['10.0.0.0/8'], 'http://app.internal/', answers), ['10.0.0.1'])
  assert.equal(await dialled(['11.0.0.0/8'], 'http://app.internal/', answers), 'forbidden')
  assert.equal(await dialled(['app.internal'], 'http://app.internal/', {}), 'unresolved')
  assert.equal(
    await dialled(['app.internal'], 'http://app.internal/', { 'app.internal': ['fe80::1%eth0'] }),
    'unresolved',
  )
})

test('a name that no rule could permit is not looked up', async () => {
  const list = new AllowList(parseAllowRules(['app.internal:80']), () => [])
  const resolve = () => assert.fail('was looked up')
  for (const url of ['http://secret.evil.example/', 'http://app.internal:81/'])
    await assert.rejects(
      resolveDestination(parseDestination(url), list, resolve),
      (error: OriginFailure) => error.resetCode === ResetCode.DESTINATION_FORBIDDEN,
    )
})

test('localhost names are loopback without any look-up', async () => {
  const list = new AllowList(parseAllowRules(['localhost:1', 'x.localhost:2']), () => [])
  const resolve = () => assert.fail('was looked up')
  const of = (url: string) => resolveDestination(parseDestination(url), list, resolve)
  assert.deepEqual(await of('http://localhost:1/'), ['127.0.0.1', '::1'])
  assert.deepEqual(await of('http://X.LOCALHOST.:2/'), ['127.0.0.1', '::1'])
})

test('addresses are read and written alike', () => {
  for (const [text, canonical] of [
    ['1.2.3.4', '1.2.3.4'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['1:0:0:4::8', '1:0:0:4::8'],
    ['FD00::00AB', 'fd00::ab'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
  ] as const)
    assert.equal(formatAddress(findAddress(text)!), canonical)
  for (const text of ['', '1.2.3', '01.2.3.4', 'x', '1::2::3', 'fe80::1%eth0', '[::1]'])
    assert.equal(findAddress(text), undefined, text)
})
