// Builds the React package into react/dist: one ES module and one declaration per source file, so that
// bundlers can leave out what an application does not use, and the style sheet as it is.

import { execFileSync } from 'node:child_process'
import { copyFileSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))

rmSync(here('react/dist'), { recursive: true, force: true })
execFileSync(process.execPath, [here('node_modules/typescript/bin/tsc'), '-p', here('react')], {
  stdio: 'inherit',
})
copyFileSync(here('react/src/styles.css'), here('react/dist/styles.css'))
