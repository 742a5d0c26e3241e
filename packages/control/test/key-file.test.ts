import assert from 'node:assert/strict'
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { openKeyFile } from '@sallyport/control'
import { makeDirectory } from './service.ts'

test('a key file is made once, for its owner only, and read from then on', async (t) => {
  const path = join(await makeDirectory(t), 'new', 'key')
  const first = openKeyFile(path)
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.equal((await stat(join(path, '..'))).mode & 0o777, 0o700)
  assert.deepEqual(await readdir(join(path, '..')), ['key'])
  const second = openKeyFile(path)
  assert.deepEqual(first.derive('cookies'), second.derive('cookies'))
  assert.equal(second.open('a', first.seal('a', Buffer.from('secret'))).toString(), 'secret')
})

test('a key file that others can read is refused with the remedy', async (t) => {
  const path = join(await makeDirectory(t), 'key')
  openKeyFile(path)
  for (const mode of [0o640, 0o604, 0o620, 0o644]) {
    await chmod(path, mode)
    assert.throws(() => openKeyFile(path), { code: 'KEY_FILE_INVALID', message: /chmod 600/ })
  }
  await chmod(path, 0o400)
  openKeyFile(path)
})

test('what is no key file is refused and left as it was', async (t) => {
  const directory = await makeDirectory(t)
  const path = join(directory, 'key')
  for (const text of ['', 'sallyport-key-1:', 'sallyport-key-1:AAAA', 'x'.repeat(60)]) {
    await writeFile(path, text, { mode: 0o600 })
    assert.throws(() => openKeyFile(path), { code: 'KEY_FILE_INVALID' })
    assert.equal(await readFile(path, 'utf8'), text)
  }
  assert.throws(() => openKeyFile(directory), { code: 'KEY_FILE_INVALID' })
})

test('what is sealed opens for its purpose and with its key only, and not when altered', async (t) => {
  const directory = await makeDirectory(t)
  const key = openKeyFile(join(directory, 'one'))
  const other = openKeyFile(join(directory, 'two'))
  const plain = Buffer.from('a private key')
  const sealed = key.seal('signing', plain)
  assert.deepEqual(key.open('signing', sealed), plain)
  assert.notEqual(key.seal('signing', plain), sealed)
  assert.deepEqual(key.open('empty', key.seal('empty', Buffer.alloc(0))), Buffer.alloc(0))
  const refused = { code: 'KEY_FILE_MISMATCH' }
  assert.throws(() => key.open('sessions', sealed), refused)
  assert.throws(() => other.open('signing', sealed), refused)
  const bytes = Buffer.from(sealed.slice(3), 'base64url')
  for (let index = 0; index < bytes.length; index += 1) {
    const altered = Buffer.from(bytes)
    altered[index]! ^= 1
    assert.throws(() => key.open('signing', `s1.${altered.toString('base64url')}`), refused)
    assert.throws(
      () => key.open('signing', `s1.${bytes.subarray(0, index).toString('base64url')}`),
      refused,
    )
  }
  for (const text of ['', 's1.', `s2.${sealed.slice(3)}`, 'nonsense'])
    assert.throws(() => key.open('signing', text), refused)
})

test('derived keys differ by purpose, and none is the key itself', async (t) => {
  const path = join(await makeDirectory(t), 'key')
  const key = openKeyFile(path)
  const raw = Buffer.from((await readFile(path, 'utf8')).trim().split(':')[1]!, 'base64url')
  const derived = [key.derive('a'), key.derive('b'), key.derive('a', 64).subarray(0, 32), raw]
  assert.equal(new Set([derived[0], derived[1], derived[3]].map((b) => b!.toString('hex'))).size, 3)
  assert.equal(key.derive('a', 64).length, 64)
  for (const text of [JSON.stringify({ key }), inspect(key, { depth: 5 }), String(key)])
    assert.ok(!text.includes(raw.toString('base64url')) && !text.includes(raw.toString('hex')))
})
