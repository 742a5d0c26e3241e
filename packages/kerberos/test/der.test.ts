import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  Fields,
  parseElement,
  parseElements,
  toFlags,
  toInstant,
  toInteger,
  toText,
} from '../src/der.ts'
import { element, field, flags, instant, integer, sequence, text } from '../src/der-writer.ts'

const refused = { code: 'DER_INVALID' }
const hex = (bytes: string) => Buffer.from(bytes.replaceAll(' ', ''), 'hex')

test('integers from -2^31 to 2^32-1 are written in their shortest form and read back', () => {
  for (const [value, bytes] of [
    [0, '02 01 00'],
    [127, '02 01 7f'],
    [128, '02 02 00 80'],
    [-1, '02 01 ff'],
    [-128, '02 01 80'],
    [-129, '02 02 ff 7f'],
    [-138, '02 02 ff 76'],
    [0x7fffffff, '02 04 7f ff ff ff'],
    [0x80000000, '02 05 00 80 00 00 00'],
    [0xffffffff, '02 05 00 ff ff ff ff'],
    [-0x80000000, '02 04 80 00 00 00'],
  ] as const) {
    assert.deepEqual(integer(value), hex(bytes))
    assert.equal(toInteger(parseElement(hex(bytes))), value)
  }
})

test('integers in a longer form, without bytes, or out of range are refused', () => {
  for (const bytes of [
    '02 00',
    '02 02 00 7f',
    '02 02 ff 80',
    '02 05 01 00 00 00 00',
    '02 05 ff 7f ff ff ff',
    '02 06 00 ff ff ff ff ff',
    '04 01 00',
  ]) {
    assert.throws(() => toInteger(parseElement(hex(bytes))), refused, bytes)
  }
})

test('lengths are written in their shortest form, and no other form is read', () => {
  for (const [size, header] of [
    [0, '04 00'],
    [127, '04 7f'],
    [128, '04 81 80'],
    [256, '04 82 01 00'],
    [65_536, '04 83 01 00 00'],
  ] as const) {
    const written = element(4, Buffer.alloc(size))
    assert.deepEqual(written.subarray(0, written.length - size), hex(header))
    assert.equal(parseElement(written).content.length, size)
  }
  for (const bytes of [
    '',
    '04',
    '04 01',
    '04 80 00 00',
    '04 81 01 00',
    '04 82 00 01 00',
    '04 82 00',
    '04 85 00 00 00 00 01 00',
    '04 84 ff ff ff ff',
    '1f 01 00',
    '04 01 00 00',
  ]) {
    assert.throws(() => parseElement(hex(bytes)), refused, bytes)
  }
})

test('a list of more elements than any message has is refused', () => {
  assert.throws(() => parseElements(Buffer.alloc(2002)), refused)
  assert.equal(parseElements(Buffer.alloc(2000)).length, 1000)
})

test('fields come once each, in order, with their own kind of tag', () => {
  const read = (bytes: Buffer) => new Fields(parseElement(bytes), 'X')
  const fields = read(sequence(field(0, integer(5)), field(2, text('é'))))
  assert.equal(toInteger(fields.get(0)), 5)
  assert.equal(toText(fields.get(2)), 'é')
  assert.equal(fields.find(1), undefined)
  assert.throws(() => fields.get(1), refused)
  assert.throws(() => fields.expect(0, 4), refused)
  for (const bytes of [
    sequence(field(1, integer(1)), field(1, integer(2))),
    sequence(field(1, integer(1)), field(0, integer(2))),
    sequence(integer(1)),
    sequence(field(0, integer(1), integer(2))),
    sequence(field(0)),
    integer(1),
  ]) {
    assert.throws(() => read(bytes), refused)
  }
})

test('times are those of a calendar, to the second, in UTC', () => {
  const at = Date.UTC(2026, 10, 25, 1, 2, 3)
  assert.equal(toInstant(parseElement(instant(at + 999))), at)
  for (const time of [
    '20261125010203',
    '20261125010203.5Z',
    '20261125010203+0100',
    '20261325010203Z',
    '20260230010203Z',
    '20261125246060Z',
    '2026112501020٣Z',
  ]) {
    assert.throws(() => toInstant(parseElement(element(0x18, Buffer.from(time)))), refused, time)
  }
})

test('flags have 32 bits or more, strings are UTF-8', () => {
  assert.equal(toFlags(parseElement(flags(0x40010000))), 0x40010000)
  assert.equal(toFlags(parseElement(hex('03 06 00 80 00 00 01 ff'))), 0x80000001)
  for (const bytes of ['03 04 00 40 01 00', '03 05 08 40 01 00 00', '03 00']) {
    assert.throws(() => toFlags(parseElement(hex(bytes))), refused, bytes)
  }
  assert.throws(() => toText(parseElement(hex('1b 01 ff'))), refused)
  assert.throws(() => toText(parseElement(hex('1b 02 c0 80'))), refused)
})
