import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  resolve: {
    alias: {
      'tusserver-react': here('react/src/index.ts'),
      // What a bundler takes for browsers; by itself Node would take the client for Node.
      'tus-js-client': here('node_modules/tus-js-client/lib.esm/browser/index.js'),
    },
  },
  test: {
    include: ['*/test/**/*.test.{ts,tsx}'],
    environment: 'jsdom',
    setupFiles: [here('react/test/setup.ts')],
    testTimeout: 20_000,
    maxWorkers: 2,
    server: { deps: { inline: ['tus-js-client'] } },
    coverage: {
      include: ['*/src/**/*.{ts,tsx}'],
      exclude: ['*/src/**/main.tsx'],
      reporter: ['text'],
      thresholds: { lines: 90, 'react/src/core/**': { lines: 100, branches: 95 } },
    },
  },
})
