import { Token, Tokenizer, TokenizerMode } from 'parse5'

/** A control of a form, as far as what it sends goes. */
export interface Control {
  /** `input` with its type, such as `password`; or `textarea`, `select`, `button` with its type. */
  kind: string
  /** Empty for one that sends nothing. */
  name: string
  value: string
  autocomplete: string
  /** It is left out: a box that is not ticked, a control that is disabled. */
  isSent: boolean
}

/** A form as it stands in a page, nothing resolved. */
export interface PageForm {
  action: string | undefined
  method: string
  enctype: string
  charset: string | undefined
  controls: Control[]
}

export interface PageForms {
  /** `href` of the first `base` element. */
  base: string | undefined
  forms: PageForm[]
}

// What the tree builder of HTML says to the tokenizer (WHATWG HTML, section 13.2.6.4).
const textModes = new Map<string, (typeof TokenizerMode)[keyof typeof TokenizerMode]>([
  ['title', TokenizerMode.RCDATA],
  ['textarea', TokenizerMode.RCDATA],
  ['script', TokenizerMode.SCRIPT_DATA],
  ['style', TokenizerMode.RAWTEXT],
  ['xmp', TokenizerMode.RAWTEXT],
  ['iframe', TokenizerMode.RAWTEXT],
  ['noembed', TokenizerMode.RAWTEXT],
  ['noframes', TokenizerMode.RAWTEXT],
  ['plaintext', TokenizerMode.PLAINTEXT],
])

/**
 * Reads the forms of a page in the order of its tags, which is how browsers decide whose control is whose: a form
 * begins with its tag and ends with the next `</form>`, wherever tables have moved either (WHATWG HTML, the form
 * element pointer). Scripts are not run.
 */
export function readForms(html: string): PageForms {
  const reader = new FormReader()
  const tokenizer = new Tokenizer({}, reader)
  reader.setMode = (mode) => {
    tokenizer.state = mode
  }
  tokenizer.write(html, true)
  return reader.result()
}

class FormReader {
  setMode: (mode: (typeof TokenizerMode)[keyof typeof TokenizerMode]) => void = () => {}
  readonly #forms: PageForm[] = []
  /** By the form's id, for controls that name theirs. */
  readonly #byId = new Map<string, PageForm>()
  /** Controls that name a form, which may come later. */
  readonly #named: { form: string; control: Control }[] = []
  #base: string | undefined
  #current: PageForm | undefined
  #templates = 0
  /** Of `fieldset disabled`, how deep in fieldsets; 0 outside. */
  #disabledDepth = 0
  #select: SelectReader | undefined
  #textarea: Control | undefined

  result(): PageForms {
    for (const { form, control } of this.#named) this.#byId.get(form)?.controls.push(control)
    return { base: this.#base, forms: this.#forms }
  }

  onStartTag(token: Token.TagToken): void {
    const { tagName } = token
    const mode = textModes.get(tagName)
    if (mode !== undefined) this.setMode(mode)
    if (tagName === 'template') this.#templates += 1
    // What is in a template is in no page until a script puts it there.
    if (this.#templates > 0) return
    const attribute = (name: string) => Token.getTokenAttr(token, name) ?? undefined
    if (tagName === 'base') this.#base ??= attribute('href')
    else if (tagName === 'form') this.#beginForm(attribute)
    else if (tagName === 'fieldset') this.#beginFieldset(attribute('disabled') !== undefined)
    else if (tagName === 'input') this.#addInput(attribute)
    else if (tagName === 'button') this.#addButton(attribute)
    else if (tagName === 'textarea') this.#textarea = this.#add('textarea', attribute, '')
    else if (tagName === 'select')
      this.#select = new SelectReader(this.#add('select', attribute, ''), attribute('multiple'))
    else if (tagName === 'option') this.#select?.begin(attribute)
  }

  onEndTag({ tagName }: Token.TagToken): void {
    if (tagName === 'template') this.#templates = Math.max(0, this.#templates - 1)
    else if (tagName === 'form') this.#current = undefined
    else if (tagName === 'fieldset') this.#disabledDepth = Math.max(0, this.#disabledDepth - 1)
    else if (tagName === 'textarea') this.#textarea = undefined
    else if (tagName === 'option') this.#select?.end()
    else if (tagName === 'select') {
      this.#select?.finish()
      this.#select = undefined
    }
  }

  onCharacter({ chars }: Token.CharacterToken): void {
    if (this.#textarea) this.#textarea.value += chars
    else this.#select?.addText(chars)
  }

  onWhitespaceCharacter(token: Token.CharacterToken): void {
    // A line end right after the tag is no part of the text.
    if (this.#textarea?.value === '' && token.chars.startsWith('\n'))
      this.#textarea.value += token.chars.slice(1)
    else this.onCharacter(token)
  }

  onNullCharacter(): void {}
  onComment(): void {}
  onDoctype(): void {}
  onEof(): void {}

  #beginForm(attribute: (name: string) => string | undefined): void {
    // A form in a form is none.
    if (this.#current) return
    const form: PageForm = {
      action: attribute('action'),
      method: (attribute('method') ?? 'get').trim().toLowerCase(),
      enctype: (attribute('enctype') ?? '').trim().toLowerCase(),
      charset: attribute('accept-charset'),
      controls: [],
    }
    this.#forms.push(form)
    this.#current = form
    const id = attribute('id')
    if (id !== undefined && !this.#byId.has(id)) this.#byId.set(id, form)
  }

  #beginFieldset(isDisabled: boolean): void {
    if (isDisabled || this.#disabledDepth > 0) this.#disabledDepth += 1
  }

  #addInput(attribute: (name: string) => string | undefined): void {
    const type = (attribute('type') ?? 'text').trim().toLowerCase() || 'text'
    const box = type === 'checkbox' || type === 'radio'
    const control = this.#add(type, attribute, attribute('value') ?? (box ? 'on' : ''))
    if (box && attribute('checked') === undefined) control.isSent = false
  }

  #addButton(attribute: (name: string) => string | undefined): void {
    const type = (attribute('type') ?? 'submit').trim().toLowerCase()
    this.#add(
      type === 'reset' || type === 'button' ? type : 'submit',
      attribute,
      attribute('value') ?? '',
    )
  }

  #add(kind: string, attribute: (name: string) => string | undefined, value: string): Control {
    const control: Control = {
      kind,
      name: attribute('name') ?? '',
      value,
      autocomplete: (attribute('autocomplete') ?? '').trim().toLowerCase(),
      isSent: attribute('disabled') === undefined && this.#disabledDepth === 0,
    }
    const form = attribute('form')
    if (form !== undefined) this.#named.push({ form, control })
    else this.#current?.controls.push(control)
    return control
  }
}

/** Finds what a `select` sends: the option that is selected, else the first that may be. */
class SelectReader {
  readonly #control: Control
  readonly #isMultiple: boolean
  #found: string | undefined
  #first: string | undefined
  #option: { value: string | undefined; text: string; selected: boolean; off: boolean } | undefined

  constructor(control: Control, multiple: string | undefined) {
    this.#control = control
    this.#isMultiple = multiple !== undefined
  }

  begin(attribute: (name: string) => string | undefined): void {
    this.end()
    this.#option = {
      value: attribute('value'),
      text: '',
      selected: attribute('selected') !== undefined,
      off: attribute('disabled') !== undefined,
    }
  }

  addText(text: string): void {
    if (this.#option) this.#option.text += text
  }

  end(): void {
    const option = this.#option
    if (!option) return
    this.#option = undefined
    const value = option.value ?? option.text.trim().replace(/\s+/g, ' ')
    if (option.off) return
    this.#first ??= value
    if (option.selected) this.#found = value
  }

  finish(): void {
    this.end()
    const value = this.#found ?? (this.#isMultiple ? undefined : this.#first)
    if (value === undefined) this.#control.isSent = false
    else this.#control.value = value
  }
}
