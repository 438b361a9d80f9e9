import { expect, test } from '@jest/globals'
import { isMounted, parseMountInfo } from '../../src/mount/mount-info.ts'

const TEXT = [
  '36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
  '40 35 0:50 / /run/x/data ro - fuse.ipfs-snapshotter src ro,user_id=0', ''
].join('\n')

test('targets, types and sources are read with their escapes', () => {
  expect(parseMountInfo(TEXT)).toEqual([
    { target: '/mnt 2', fsType: 'ext3', source: '/dev/root' },
    { target: '/run/x/data', fsType: 'fuse.ipfs-snapshotter', source: 'src' }
  ])
})

test('a target is mounted only under its whole path', () => {
  expect(isMounted(TEXT, '/run/x/data')).toBe(true)
  expect(isMounted(TEXT, '/run/x')).toBe(false)
})

test('a target may have letters beyond ASCII, which the kernel does not escape', () => {
  expect(isMounted('40 35 0:50 / /srv/données/名\\0401 ro - erofs none ro', '/srv/données/名 1')).toBe(true)
})
