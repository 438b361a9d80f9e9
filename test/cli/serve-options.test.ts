import { expect, test } from '@jest/globals'
import { command } from '../e2e/command.ts'

test('serve refuses a log level that there is not, as a mistake in usage', async () => {
  const { code, stderr } = await command(['serve', '--log-level', 'loud', '--config', '/nowhere.toml'])
  expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('Allowed choices are debug, info, warn, error') })
}, 60_000)
