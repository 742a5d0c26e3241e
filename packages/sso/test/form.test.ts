import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FormNames, fillIn, findSignInForm } from '@sallyport/sso/password/form'

const url = 'http://app.internal/start/login?next=%2F'
const credential = { userName: 'ana', password: 'p&ss wörd' }

function find(html: string | Buffer, names: Partial<FormNames> = {}, contentType = 'text/html') {
  const body = typeof html === 'string' ? Buffer.from(html) : html
  return findSignInForm({ url, contentType, body }, { actionPath: '/login', ...names })
}

function sent(html: string | Buffer, names: Partial<FormNames> = {}, contentType?: string) {
  const form = find(html, names, contentType)
  assert.ok(form, 'there is a form')
  return fillIn(form, credential, 'BOUNDARY').body.toString('latin1')
}

test('the form with the password is found, and filled in with its hidden fields and its button', () => {
  const html = `<form action="/search"><input name="q"></form>
    <form action="/login" method="post">
    <input type="hidden" name="csrf" value="t&amp;k">
    <label>Name <input name="user"></label><input type="password" name="pass">
    <input type="checkbox" name="remember" value="1"><input type="checkbox" name="terms" checked>
    <button name="go" value="in">Sign in</button><button name="other">Other</button></form>`
  assert.equal(sent(html), 'csrf=t%26k&user=ana&pass=p%26ss+w%C3%B6rd&terms=on&go=in')
  assert.equal(find(html)?.action.href, 'http://app.internal/login')
})

test('a page without such a form has none', () => {
  for (const html of [
    '',
    '<p>Welcome back. Change your password?</p>',
    '<form method=post><input name=user></form>',
    '<!-- <form method=post><input name=u><input type=password name=p></form> -->',
    '<script>"<form method=post><input name=u><input type=password name=p></form>"</script>',
    '<textarea><form method=post><input name=u><input type=password name=p></form></textarea>',
    '<template><form method=post><input name=u><input type=password name=p></form></template>',
  ])
    assert.equal(find(html), undefined, html)
})

test('a form to change a password, or to register, is no sign-in form', () => {
  for (const html of [
    '<form method=post><input name=u><input type=password name=a><input type=password name=b></form>',
    '<form method=post><input name=u><input type=password name=a autocomplete=new-password></form>',
  ])
    assert.equal(find(html), undefined, html)
})

test('an action is resolved as browsers do it: empty, relative, with base, elsewhere', () => {
  const action = (attributes: string, head = '') =>
    find(`${head}<form method=post ${attributes}><input name=u><input type=password name=p></form>`)
      ?.action.href
  assert.equal(action(''), url)
  assert.equal(action('action=""'), url)
  assert.equal(action('action="?a=1"'), 'http://app.internal/start/login?a=1')
  assert.equal(action('action=" check#top "'), 'http://app.internal/start/check')
  assert.equal(action('action=check', '<base href=/deep/>'), 'http://app.internal/deep/check')
  assert.equal(action('action="//evil.example/x"'), 'http://evil.example/x')
  assert.throws(() => action('action="http://["'), { code: 'FORM_NOT_FOUND' })
})

test('a form that a table has moved still owns its fields', () => {
  const html = `<table><form method=post action=/login><tr><td><input name=u></td></tr>
    <tr><td><input type=password name=p></td></tr></table><input type=hidden name=h value=1></form>
    <input name=outside value=no>`
  assert.equal(sent(html), 'u=ana&p=p%26ss+w%C3%B6rd&h=1')
})

test('a control may name its form', () => {
  const html = `<input form=f name=u><form id=f method=post><input type=password name=p></form>
    <form id=g method=post><input name=x form=f value=2></form>`
  // Those inside come first: the order of the page matters to no server that we know.
  assert.equal(sent(html, { userField: 'u' }), 'p=p%26ss+w%C3%B6rd&u=ana&x=2')
})

test('selects, text areas and disabled controls send what browsers send', () => {
  const html = `<form method=post><select name=lang><option value=de>Deutsch<option selected>  English  (UK)
    </select><select name=first><option disabled>-<option value=a>A</select><select name=many multiple><option>x</select>
    <textarea name=t>\nline</textarea><input name=off value=1 disabled>
    <fieldset disabled><input name=off2 value=1></fieldset><input name=u><input type=password name=p>
    <input type=image name=go><input type=submit name=late value=1></form>`
  assert.equal(
    sent(html),
    'lang=English+%28UK%29&first=a&t=line&u=ana&p=p%26ss+w%C3%B6rd&go.x=0&go.y=0',
  )
})

test('the field for the user name is the one that says so, or the last one before the password', () => {
  const user = (inner: string) => find(`<form method=post>${inner}</form>`)?.userField
  assert.equal(
    user('<input name=realm><input name=u><input type=password name=p><input name=z>'),
    'u',
  )
  assert.equal(
    user('<input name=a autocomplete=username><input name=b><input type=password name=p>'),
    'a',
  )
  assert.equal(user('<input type=email name=m><input type=password name=p>'), 'm')
  assert.throws(() => user('<input type=password name=p>'), { code: 'FORM_FIELD_MISSING' })
})

test('named fields go before what is detected', () => {
  const html =
    '<form method=post><input name=id><input name=x><input name=pin><input type=password name=p></form>'
  const form = find(html, { userField: 'id', passwordField: 'pin' })
  assert.deepEqual([form?.userField, form?.passwordField], ['id', 'pin'])
  assert.equal(find(html, { passwordField: 'absent' }), undefined)
  assert.throws(() => find(html, { userField: 'absent' }), { code: 'FORM_FIELD_MISSING' })
})

test('of several forms the one with the pinned action is meant; two that differ are not guessed', () => {
  const form = (action: string, user = 'u') =>
    `<form method=post action=${action}><input name=${user}><input type=password name=p></form>`
  assert.equal(find(form('/guest') + form('/login'))?.action.pathname, '/login')
  assert.equal(find(form('/login') + form('/login'))?.action.pathname, '/login')
  assert.throws(() => find(form('/a') + form('/b')), { code: 'FORM_AMBIGUOUS' })
  assert.throws(() => find(form('/login') + form('/login', 'v')), { code: 'FORM_AMBIGUOUS' })
})

test('attack 64: a form that would put the password into a URL is refused', () => {
  const inner = '<input name=u><input type=password name=p>'
  for (const attributes of ['', 'method=get', 'method=dialog'])
    assert.throws(() => find(`<form ${attributes}>${inner}</form>`), { code: 'FORM_METHOD_UNSAFE' })
  assert.throws(() => find(`<form method=post enctype=text/plain>${inner}</form>`), {
    code: 'FORM_ENCODING_UNSUPPORTED',
  })
})

test('the charset is that of the form, of the answer or of the page', () => {
  const inner = '<input name=u><input type=password name=p>'
  const latin = `u=ana&p=p%26ss+w%F6rd`
  assert.equal(sent(`<form method=post accept-charset=ISO-8859-1>${inner}</form>`), latin)
  assert.equal(sent(`<form method=post>${inner}</form>`, {}, 'text/html; charset=latin1'), latin)
  assert.equal(sent(`<meta charset=windows-1252><form method=post>${inner}</form>`), latin)
  assert.throws(() => sent(`<meta charset=shift_jis><form method=post>${inner}</form>`), {
    code: 'FORM_CHARSET_UNSUPPORTED',
  })
})

test('a form with multipart is sent as that, and names cannot break out of their part', () => {
  const form = find(
    `<form method=post enctype=multipart/form-data><input type=hidden name='a"b' value=1><input name=u><input type=password name=p></form>`,
  )!
  const { contentType, body } = fillIn(form, credential, 'B')
  assert.equal(contentType, 'multipart/form-data; boundary=B')
  assert.equal(
    body.toString('utf8'),
    '--B\r\nContent-Disposition: form-data; name="a%22b"\r\n\r\n1\r\n' +
      '--B\r\nContent-Disposition: form-data; name="u"\r\n\r\nana\r\n' +
      '--B\r\nContent-Disposition: form-data; name="p"\r\n\r\np&ss wörd\r\n--B--\r\n',
  )
})

test('attack 66: a page of a megabyte of fields is read in time that grows with its length', () => {
  const page = (fields: number) =>
    `<form method=post>${'<input name=u>'.repeat(fields)}<input type=password name=p></form>`
  const [few, many] = [measure(page(4_000)), measure(page(64_000))]
  // Sixteen times as much; each field compared with each other one would be 256 times as much.
  assert.ok(many < few * 80, `${few} ms and ${many} ms`)
  assert.equal(find(page(64_000))?.fields.length, 64_001)
})

/** The least of some runs, in milliseconds: what is beside this on the machine only adds to it. */
function measure(html: string): number {
  const runs = Array.from({ length: 3 }, () => {
    const begunAt = performance.now()
    find(html)
    return performance.now() - begunAt
  })
  return Math.min(...runs)
}

test('any tags in any order are a form, none, or refused by a code', () => {
  let seed = 7
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return seed
  }
  const pieces = [
    '<form method=post>',
    '</form>',
    '<input name=u>',
    '<input type=password name=p>',
    '<select>',
    '<option>',
    '</select>',
    '<table>',
    '<textarea>',
    '</textarea>',
    '<script>',
    '</script>',
    '<template>',
    '<!--',
    '-->',
    '"',
    "'",
    '\u0000',
    '&#x0;',
    '<fieldset disabled>',
  ]
  for (let round = 0; round < 2_000; round += 1) {
    const html = Array.from({ length: 30 }, () => pieces[random() % pieces.length]).join('')
    try {
      find(html)
    } catch (error) {
      assert.match((error as { code: string }).code, /^FORM_/)
    }
  }
})
