// The status page in a real browser over a real node: what it shows is what `status --json` says, it stays right by itself, and what
// strangers wrote stays text.
import { afterAll, beforeAll, expect } from '@jest/globals'
import { createRequire } from 'node:module'
import type { Browser, Page } from 'playwright-core'
import { commandJson, until } from '../e2e/command.ts'
import { testWith } from '../peers/tools.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import type { Status } from '../../src/daemon/status.ts'
import { DESKTOP, openPage, PHONE, startBrowser } from './browser.ts'
import { BusyNode } from './busy-node.ts'

const run = testWith('status page', 'chromium', 'container')
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
/** As a name in containerd, and as what a user typed. */
const HOSTILE = '"\'><img src=x onerror=globalThis.ran=1><script>globalThis.ran=1</script>'
const node = new BusyNode()
let browser: Browser | null = null
let page: Page

beforeAll(async () => {
  await preparePrograms()
  await node.start()
  browser = await startBrowser()
  page = await openPage(browser, node.url)
}, PREPARE_MS)
afterAll(async () => {
  await browser?.close()
  await node.end()
}, PREPARE_MS)

async function status (): Promise<Status> {
  return await commandJson<Status>('status', '--config', node.scene.config)
}

/** As the page writes them: three digits and a binary unit. */
function bytes (value: number): string {
  const unit = value < 1024 ? 0 : Math.floor(Math.log2(value) / 10)
  const scaled = value / 1024 ** unit
  return `${unit === 0 ? value : scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0)} ${['B', 'KiB', 'MiB', 'GiB'][unit] ?? ''}`
}

async function textOf (role: 'article' | 'row', name: string | RegExp): Promise<string> {
  return await page.getByRole(role).filter({ hasText: name }).first().innerText()
}

async function shows (text: string | RegExp): Promise<void> {
  await page.getByText(text).first().waitFor({ timeout: 20_000 })
}

run('images, sources and figures are those of status --json', async () => {
  const said = await status()
  expect(said.images.map(({ name }) => name)).toEqual(expect.arrayContaining(['registry.example/shop/frontend:2.4', 'registry.example/shop/queue:1.0']))
  expect(said.images.map(({ state }) => state)).toEqual(expect.arrayContaining(['lazy', 'complete']))
  for (const { name, reference, size, fetchedBytes, proven, layers } of said.images) {
    const text = await textOf('article', name ?? reference)
    expect(text).toContain(reference)
    expect(text).toContain(`${bytes(fetchedBytes)} of ${bytes(size)} fetched`)
    expect(text).toContain(proven ? '✓ proven' : '… not proven yet')
    expect(text).toContain(`${layers.length} layers`)
  }
  for (const { name, requests, budget, bytes: received } of said.gateways) {
    const text = await textOf('row', name)
    expect(text).toContain(budget === null ? 'none stated' : `${budget} left`)
    expect(text).toContain(String(requests))
    expect(text).toContain(bytes(received))
  }
  expect(said.gateways[0]).toMatchObject({ budget: 281, health: 'ok', usualMs: expect.any(Number) })
  const summary = await page.getByRole('region', { name: 'Summary' }).innerText()
  expect(summary).toContain(`of ${bytes(said.totals.size)} in ${said.layers.length} layers`)
  expect(summary).toContain(`of ${bytes(said.cache.maxBytes)}`)
  expect(await page.getByRole('status').innerText()).toBe('● ready')
}, 60_000)

run('a read shows by itself, and what was opened with the keyboard stays open and focused', async () => {
  const article = page.getByRole('article').filter({ hasText: 'shop/frontend' })
  const before = await article.innerText()
  await article.locator('summary').focus()
  await page.keyboard.press('Enter')
  await node.read('/data/2', '/data/3', '/data/6')
  await until('the page follows', async () => await article.innerText() !== before)
  const image = (await status()).images.find(({ name }) => name?.includes('frontend'))
  await shows(`${bytes(image?.fetchedBytes ?? 0)} of ${bytes(image?.size ?? 0)} fetched`)
  expect(await article.getByRole('row').count()).toBe(1 + (image?.layers.length ?? 0))
  expect(await article.locator('summary:focus').count()).toBe(1)
}, 60_000)

run('failures show: the exact line of a pull, tired and broken gateways, a new worker, a container that the policy stopped', async () => {
  await node.suffer()
  const said = await status()
  const stopped = said.policy.containers[0]
  expect(said).toMatchObject({
    worker: { restarts: 1 }, policy: { stopped: 1, containers: [{ image: 'registry.example/shop/liar:latest' }] }, proofs: { lied: 1 }
  })
  await shows(stopped?.line ?? '')
  expect(stopped?.line).toMatch(/^DIGEST_MISMATCH: layer sha256:/)
  const stderr = said.errors.find(({ event }) => event === 'pull failed')?.line ?? ''
  expect(stderr).toMatch(/^ROOT_UNREACHABLE: block bafkrei/)
  const text = await page.getByRole('region', { name: /^Recent errors/ }).innerText()
  for (const { line, event } of said.errors) expect(text).toContain(line || event)
  expect(await textOf('row', said.gateways[1]?.name ?? '')).toMatch(/▲ left alone until \d\d:\d\d:\d\d, as it asked\s+0 left/)
  expect(await textOf('row', said.gateways[2]?.name ?? '')).toContain('▲ suspect')
  expect(await page.getByRole('region', { name: 'Summary' }).innerText()).toMatch(/Worker restarts\s+1\s/)
}, 90_000)

run('names and errors from strangers are shown as they are, and run nothing', async () => {
  const image = (await status()).images.find(({ name }) => name === 'registry.example/shop/queue:1.0')
  await node.scene.pull(image?.reference ?? '', '--name', HOSTILE)
  const { stderr, code } = await node.scene.tryPull(`ipfs://${HOSTILE}`)
  expect(code).toBe(1)
  await shows(stderr.trim().split('\n').at(-1) ?? 'no line')
  await page.getByRole('article').filter({ hasText: HOSTILE }).waitFor()
  expect(await page.locator('img, body script[src], [onerror]').count()).toBe(0)
  // Even as markup it would not run: the same text, put there by hand.
  const blocked = page.waitForEvent('console', (message) => message.text().includes('Content Security Policy'))
  await page.evaluate(`document.body.insertAdjacentHTML('beforeend', ${JSON.stringify(HOSTILE)})`)
  await blocked
  expect(await page.evaluate('"ran" in globalThis')).toBe(false)
  await page.reload()
  await shows(HOSTILE)
  expect(await page.evaluate('"ran" in globalThis')).toBe(false)
}, 60_000)

run.each([
  ['a phone, dark', PHONE, 'dark'], ['a phone, light', PHONE, 'light'], ['a desktop, dark', DESKTOP, 'dark'], ['a desktop, light', DESKTOP, 'light']
] as const)('on %s nothing is wider than the page, and screen readers and weak eyes find their way', async (_, size, scheme) => {
  if (browser === null) throw new Error('no browser')
  const shown = await openPage(browser, node.url, { size, scheme, bypassCSP: true })
  for (const summary of await shown.locator('summary').all()) await summary.click()
  expect(await shown.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBeLessThanOrEqual(0)
  await shown.addScriptTag({ path: AXE })
  expect(await shown.evaluate('axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]))')).toEqual([])
  await shown.context().close()
}, 60_000)

run('a page that nobody sees asks nothing, and asks at once when it is seen again', async () => {
  let asked = 0
  page.on('request', () => { asked++ })
  const see = async (isHidden: boolean): Promise<void> => {
    await page.evaluate(`Object.defineProperty(document, 'hidden', { value: ${isHidden}, configurable: true })`)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
  }
  await see(true)
  await page.waitForTimeout(2_500) // the round that was under way
  asked = 0
  await page.waitForTimeout(3_000)
  expect(asked).toBe(0)
  await see(false)
  await until('it asks', () => asked > 0)
}, 60_000)

run('says when the daemon is gone, keeps the last figures, and comes back by itself with the images of before', async () => {
  await node.scene.daemon.end('SIGTERM')
  await page.getByRole('alert').filter({ hasText: 'The daemon does not answer' }).waitFor()
  expect(await page.getByRole('status').innerText()).toBe('✕ no answer')
  expect(await page.getByRole('article').filter({ hasText: 'shop/frontend' }).count()).toBe(1)
  await node.scene.serve()
  await page.getByRole('status').filter({ hasText: '● ready' }).waitFor({ timeout: 20_000 })
  expect(await page.getByRole('alert').isVisible()).toBe(false)
  const { images } = await status()
  expect(images.map(({ name }) => name)).toEqual(expect.arrayContaining(['registry.example/shop/frontend:2.4', HOSTILE]))
  for (const { fetchedBytes, size } of images) await shows(`${bytes(fetchedBytes)} of ${bytes(size)} fetched`)
}, 60_000)
