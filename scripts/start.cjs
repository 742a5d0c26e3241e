// `npm start`: installs what is missing, then runs the demo system until Ctrl-C.
'use strict'

const path = require('node:path')
const { findNode, installPackages, launch, ROOT, runMain } = require('./install.cjs')

runMain(async () => {
  installPackages()
  const entry = path.join(ROOT, 'packages', 'cli', 'src', 'start.ts')
  return launch(findNode(), [entry, ...process.argv.slice(2)], { cwd: process.cwd() })
})
