import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toPeerAddress } from '@sallyport/domain'

test('an address that a socket has mapped into IPv6 is IPv4 again, and nothing else is touched', () => {
  assert.equal(toPeerAddress('::ffff:192.0.2.1'), '192.0.2.1')
  assert.equal(toPeerAddress('::FFFF:192.0.2.1'), '192.0.2.1')
  for (const address of ['192.0.2.1', '2001:db8::1', '::1', '', 'unknown', '::ffff:c000:201'])
    assert.equal(toPeerAddress(address), address)
})
