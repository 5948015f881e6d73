import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const pages = readdirSync(here('.')).filter((name) => name.endsWith('.html'))

export default defineConfig({
  root: here('.'),
  // The pages work below any path, which only the server knows.
  base: './',
  build: {
    outDir: here('../../tusserver/web'),
    emptyOutDir: true,
    // The Content-Security-Policy allows no inline code, and files can be cached for good.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'licenses.md' },
    rolldownOptions: { input: pages.sort().map((name) => here(name)) },
  },
})
