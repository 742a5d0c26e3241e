/** Letters that have both cases one for one; others stay. */
export function toLowercase(value: string): string {
  return convertCase(value, 'toLowerCase', 'toUpperCase')
}

/** As `toLowercase`. */
export function toUppercase(value: string): string {
  return convertCase(value, 'toUpperCase', 'toLowerCase')
}

/**
 * Only letters that come back the same way: a dotless i made `I`, or a Kelvin sign made `k`, would turn one person's name into
 * another's.
 */
function convertCase(
  value: string,
  there: 'toLowerCase' | 'toUpperCase',
  back: 'toLowerCase' | 'toUpperCase',
): string {
  let text = ''
  for (const character of value) {
    const converted = character[there]()
    text += converted[back]() === character ? converted : character
  }
  return text
}
