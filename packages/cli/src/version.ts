/** Of both programs. */
export const version = '0.1.0'
