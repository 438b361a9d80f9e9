// The test function of suites that run images. Where no image can run they are skipped, and Jest then leaves their hooks out too.
import { test } from '@jest/globals'
import { whyNot } from './harness.ts'

export const run = whyNot === null ? test : test.skip
