// The command line of `npm run bench`.
import { expect, test } from '@jest/globals'
import { parseOptions } from '../../bench/options.ts'

test('runs every part but those that take long by nature, five runs each', () => {
  expect(parseOptions([], 1000)).toMatchObject({ parts: ['cold', 'steady', 'publish', 'content'], runs: 5, seed: 1000, quick: false, trace: false })
  expect(parseOptions([], 0)).toMatchObject({ images: [], links: [], contenders: [] })
})

test('takes parts and repeated names in any order', () => {
  const line = '--image node soak --link 20ms-10MB --link 80ms-10MB --contender ours cold --runs 1 --seed 3'
  const options = parseOptions(line.split(' '), 0)

  expect(options).toMatchObject({ parts: ['soak', 'cold'], images: ['node'], links: ['20ms-10MB', '80ms-10MB'], contenders: ['ours'], runs: 1, seed: 3 })
})

test('--quick means python and three runs, unless other ones are named', () => {
  expect(parseOptions(['--quick'], 0)).toMatchObject({ images: ['python'], runs: 3, quick: true })
  expect(parseOptions(['--quick', '--image', 'nginx', '--runs', '2'], 0)).toMatchObject({ images: ['nginx'], runs: 2 })
})

test.each([
  [['warm'], /no such part: warm/], [['--runs', '0'], /--runs/], [['--runs', 'x'], /--runs/], [['--seed=-1'], /--seed/], [['--fast'], /--fast/]
])('refuses %j', (args, message) => {
  expect(() => parseOptions(args, 0)).toThrow(message)
})
