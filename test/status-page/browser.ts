// The status page in the Chromium of this machine, without a window.
import { execFileSync } from 'node:child_process'
import { type Browser, chromium, type Page } from 'playwright-core'

export const DESKTOP = { width: 1000, height: 900 }
/** A small phone. */
export const PHONE = { width: 360, height: 780 }

export async function startBrowser (): Promise<Browser> {
  const executablePath = execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim()
  return await chromium.launch({ executablePath, args: ['--disable-lcd-text'] })
}

export interface Look {
  readonly size?: typeof DESKTOP
  readonly scheme?: 'light' | 'dark'
  /** Scripts of the test may be put into the page. */
  readonly bypassCSP?: boolean
}

/** A page of its own that has its first figures. */
export async function openPage (browser: Browser, url: string, { size = DESKTOP, scheme = 'light', bypassCSP = false }: Look = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: size, colorScheme: scheme, bypassCSP, locale: 'en-GB', timezoneId: 'UTC' })
  const page = await context.newPage()
  await page.goto(`${url}/`)
  await page.getByRole('heading', { name: /^Images/ }).waitFor()
  return page
}
