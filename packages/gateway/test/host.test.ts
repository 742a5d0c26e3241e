import assert from 'node:assert/strict'
import test from 'node:test'
import { parseHost } from '../src/host.ts'

test('a host is read in lower case and without its port', () => {
  assert.equal(parseHost('hr.example.test', 443), 'hr.example.test')
  assert.equal(parseHost('HR.Example.TEST', 443), 'hr.example.test')
  assert.equal(parseHost('hr.example.test:443', 443), 'hr.example.test')
  assert.equal(parseHost('hr.example.test:8443', 8443), 'hr.example.test')
  assert.equal(parseHost('xn--bcher-kva.example.test', 443), 'xn--bcher-kva.example.test')
  assert.equal(parseHost('10.0.0.1', 443), '10.0.0.1')
})

test('attacks 11 and 14: a host that could be read as another is refused', () => {
  for (const value of [
    undefined,
    '',
    'hr.example.test.',
    '.example.test',
    'hr..example.test',
    'hr.example.test:',
    'hr.example.test:8443',
    'hr.example.test:0443x',
    'hr.example.test:443:443',
    'hr.example.test:+443',
    'user@hr.example.test',
    'hr.example.test/x',
    'hr.example.test?x',
    'hr.example.test#x',
    'hr.example.test,evil',
    'hr.example.test evil',
    'hr.example.test\tevil',
    'http://hr.example.test',
    'hr_x.example.test',
    'hr.example.test\xa0',
    'b\xfccher.example.test',
    '*.example.test',
    '-hr.example.test',
    'hr%2eexample.test',
    '[::1]',
    '[fe80::1%25eth0]',
    '[::1]:443',
    '::1',
    `${'a'.repeat(254)}`,
  ])
    assert.throws(
      () => parseHost(value, 443),
      { code: 'HOST_INVALID', reason: 'host-mismatch' },
      value,
    )
  assert.throws(() => parseHost('hr.example.test', 8443), { code: 'HOST_INVALID' })
})
