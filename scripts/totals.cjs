// A node:test reporter for scripts/test.cjs: one JSON line per failure, and one with the counts.
'use strict'

module.exports = async function* totals(source) {
  for await (const { type, data } of source) {
    if (type === 'test:fail' && data.details.error?.failureType !== 'subtestsFailed') {
      yield `${JSON.stringify({ failed: data.name, file: data.file })}\n`
    }
    // A file without tests counts as one that passed, by the file's name.
    if (type === 'test:pass' && data.nesting === 0 && data.file?.endsWith(data.name)) {
      yield `${JSON.stringify({ failed: 'there is no test in it', file: data.file })}\n`
    }
    // Each file has a summary too; the one of the whole run names no file.
    if (type === 'test:summary' && data.file === undefined) {
      yield `${JSON.stringify({ counts: data.counts })}\n`
    }
  }
}
