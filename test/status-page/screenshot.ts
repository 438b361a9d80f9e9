// `npm run screenshot`: takes docs/status-page.png and docs/status-page-phone.png anew, of a real node.
import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { preparePrograms } from '../suites/erofs-mounts.ts'
import { DESKTOP, openPage, PHONE, startBrowser } from './browser.ts'
import { BusyNode } from './busy-node.ts'

const DOCS = resolve(import.meta.dirname, '../../docs')
const PICTURES = [
  { file: 'status-page.png', look: { size: DESKTOP, scheme: 'light' } }, { file: 'status-page-phone.png', look: { size: PHONE, scheme: 'dark' } }
] as const

await preparePrograms()
const node = new BusyNode()
const browser = await startBrowser()
try {
  await node.start()
  await node.suffer()
  for (const { file, look } of PICTURES) {
    const page = await openPage(browser, node.url, look)
    const path = resolve(DOCS, file)
    await page.screenshot({ path, fullPage: true })
    execFileSync('pngquant', ['--force', '--strip', '--output', path, '256', path])
    process.stdout.write(`docs/${file}\n`)
  }
} finally {
  await browser.close()
  await node.end()
}
