import { expect, test } from '@jest/globals'
import { asSnapshotterError, ERROR_CODES, errnoOf, grpcStatusOf, hasCode, isSnapshotterError, SnapshotterError, systemCode } from '../../src/base/errors.ts'
import { readFileSync } from 'node:fs'

test('every code has a gRPC status that is an error and an errno that FUSE takes', () => {
  for (const code of ERROR_CODES) {
    expect(grpcStatusOf(code)).toBeGreaterThan(0)
    expect(grpcStatusOf(code)).toBeLessThanOrEqual(16)
    expect(errnoOf(code)).toBeGreaterThan(0)
    expect(errnoOf(code)).toBeLessThan(512)
  }
})

test('a message is one line, whatever went into it', () => {
  expect(new SnapshotterError('NOT_OCI', 'a\nb\r\nc').line).toBe('NOT_OCI: a b c')
})

test('errors of other realms and of the system are recognised for what they are', () => {
  let thrown: unknown
  try { readFileSync('/nonexistent') } catch (error) { thrown = error }

  expect(systemCode(thrown)).toBe('ENOENT')
  expect(isSnapshotterError(thrown)).toBe(false)
  expect(asSnapshotterError(thrown)).toMatchObject({ code: 'INTERNAL', cause: thrown })
  expect(asSnapshotterError(AbortSignal.abort().reason).code).toBe('CANCELLED')
  expect(hasCode(new SnapshotterError('NOT_FOUND', 'x'), 'NOT_OCI', 'NOT_FOUND')).toBe(true)
})
