import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { acceptLabels, applyMask } from '../../src/base/labels.ts'
import { NO_USAGE } from '../../src/snapshots/snapshot.ts'
import { type NewSnapshot, SnapshotStore } from '../../src/snapshots/store.ts'

let folder: string
let path: string
let store: SnapshotStore
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'store-'))
  path = join(folder, 'ipfs.sqlite')
  store = new SnapshotStore(path, systemClock)
})
afterEach(() => {
  store.close()
  rmSync(folder, { recursive: true })
})

const create = (name: string, some: Partial<NewSnapshot> = {}): number =>
  store.create({ kind: 'active', name, parent: '', labels: {}, lazy: null, ...some }, () => {})
const reopen = (): void => {
  store.close()
  store = new SnapshotStore(path, systemClock)
}

describe('the store', () => {
  test('keeps everything over a restart, to the nanosecond', () => {
    create('base', { kind: 'committed', labels: { a: 'ä "quoted"' }, lazy: { chainId: 'sha256:1', restore: '{"x":1}' } })
    create('top', { parent: 'base' })
    store.commit('top', 'named', { b: '2' }, { size: 2 ** 40, inodes: 7 })
    const before = [store.get('base'), store.get('named')]
    expect(before[1]).toMatchObject({ info: { parent: 'base', kind: 'committed' }, usage: { size: 2 ** 40, inodes: 7 }, lazy: null })
    reopen()
    expect([store.get('base'), store.get('named')]).toEqual(before)
    expect(store.chain('named').map(({ info }) => info.name)).toEqual(['named', 'base'])
    expect(store.findLazy('sha256:1', '')?.id).toBe(before[0]?.id)
  })

  test('writes nothing when the directory cannot be placed', () => {
    expect(() => store.create({ kind: 'active', name: 'a', parent: '', labels: {}, lazy: null }, () => { throw new Error('no') })).toThrow('no')
    expect(store.has('a')).toBe(false)
    expect(create('a')).toBeGreaterThan(0)
  })

  test('never gives a number twice, not even after removal and restart', () => {
    const first = create('a')
    store.remove('a')
    reopen()
    const second = create('b')
    store.raiseId(second + 10)
    expect(new Set([first, second, store.reserveId(), create('c')]).size).toBe(4)
    expect(store.get('c').id).toBeGreaterThan(second + 10)
  })

  test('tells its refusals apart', () => {
    create('active')
    create('view', { kind: 'view' })
    create('committed', { kind: 'committed' })
    create('child', { parent: 'committed' })
    const code = (work: () => unknown): unknown => {
      try { return work() } catch (error) { return (error as { code: string }).code }
    }
    expect(code(() => store.get('none'))).toBe('NOT_FOUND')
    expect(code(() => create('x', { parent: 'none' }))).toBe('NOT_FOUND')
    expect(code(() => create('x', { parent: 'active' }))).toBe('INVALID_ARGUMENT')
    expect(code(() => create('x', { parent: 'view' }))).toBe('INVALID_ARGUMENT')
    expect(code(() => create('active'))).toBe('ALREADY_EXISTS')
    expect(code(() => store.commit('active', 'committed', {}, NO_USAGE))).toBe('ALREADY_EXISTS')
    expect(code(() => store.commit('view', 'new', {}, NO_USAGE))).toBe('FAILED_PRECONDITION')
    expect(code(() => store.commit('committed', 'new', {}, NO_USAGE))).toBe('FAILED_PRECONDITION')
    expect(code(() => store.commit('none', 'new', {}, NO_USAGE))).toBe('NOT_FOUND')
    expect(code(() => store.remove('committed'))).toBe('FAILED_PRECONDITION')
    expect(code(() => store.remove('none'))).toBe('NOT_FOUND')
    expect(code(() => store.update('none', {}, []))).toBe('NOT_FOUND')
  })

  describe('of a Commit whose answer was lost', () => {
    const code = (work: () => unknown): unknown => {
      try { return work() } catch (error) { return (error as { code: string }).code }
    }
    const usage = { size: 5, inodes: 1 }
    beforeEach(() => {
      create('ns/1/key')
      store.commit('ns/1/key', 'ns/2/name', { a: '1' }, usage)
      reopen()
    })

    test.each(['ns/2/name', 'ns/3/name'])('takes the repetition, as %s', (name) => {
      expect(store.toCommit('ns/1/key', name).info.kind).toBe('committed')
      store.commit('ns/1/key', name, { a: '2' }, NO_USAGE)
      expect(store.get(name)).toMatchObject({ usage, info: { kind: 'committed', labels: { a: '2' } } })
      expect(store.ids().size).toBe(1)
    })

    test.each(['ns/3/other', 'other/3/name', 'name', 'ns/x/name', 'ns//name'])('does not take another one, as %s', (name) => {
      expect(code(() => store.toCommit('ns/1/key', name))).toBe('NOT_FOUND')
      expect(code(() => { store.commit('ns/1/key', name, {}, NO_USAGE) })).toBe('NOT_FOUND')
      expect(store.has('ns/2/name')).toBe(true)
    })

    test('renames nothing that has a child, nor to a name that is taken, nor what was removed', () => {
      create('ns/3/name')
      expect(code(() => { store.commit('ns/1/key', 'ns/3/name', {}, NO_USAGE) })).toBe('ALREADY_EXISTS')
      create('ns/4/child', { parent: 'ns/2/name' })
      expect(code(() => { store.commit('ns/1/key', 'ns/5/name', {}, NO_USAGE) })).toBe('NOT_FOUND')
      store.remove('ns/4/child')
      store.remove('ns/2/name')
      expect(code(() => { store.commit('ns/1/key', 'ns/2/name', {}, NO_USAGE) })).toBe('NOT_FOUND')
    })

    test('commits the key that was prepared again, not what the first one became', () => {
      create('ns/1/key')
      expect(store.toCommit('ns/1/key', 'ns/3/name').info.kind).toBe('active')
      store.commit('ns/1/key', 'ns/3/name', {}, NO_USAGE)
      expect(store.ids().size).toBe(2)
    })
  })

  test('keeps the label by which containerd finds a lazy layer, whatever an update says', () => {
    create('lazy', { kind: 'committed', labels: { 'containerd.io/snapshot.ref': 'sha256:1' }, lazy: { chainId: 'sha256:1', restore: 'r' } })
    expect(store.update('lazy', { 'containerd.io/snapshot.ref': 'sha256:2' }, []).labels).toEqual({ 'containerd.io/snapshot.ref': 'sha256:1' })
    expect(store.update('lazy', {}, ['labels.containerd.io/snapshot.ref']).labels).toEqual({ 'containerd.io/snapshot.ref': 'sha256:1' })
  })

  test('pages through everything once, lazy layers first, while others come and go', () => {
    for (let at = 0; at < 250; at++) create(`s${at}`, at % 3 === 0 ? { kind: 'committed', lazy: { chainId: `c${at}`, restore: '' } } : {})
    const seen: string[] = []
    const sizes: number[] = []
    for (let page = store.page(null); page.length > 0; page = store.page(page.at(-1) ?? null)) {
      sizes.push(page.length)
      seen.push(...page.map(({ info }) => info.name))
      if (sizes.length === 1) store.remove('s248')
    }
    expect(sizes).toEqual([100, 100, 49])
    expect(new Set(seen).size).toBe(249)
    expect(seen.slice(0, 83).every((name) => Number(name.slice(1)) % 3 === 0)).toBe(true)
  })

  test('takes any key as an opaque string', () => {
    const key = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter((text) => text.isWellFormed())
    fc.assert(fc.property(fc.uniqueArray(key, { maxLength: 8 }), (keys) => {
      for (const key of keys) create(key)
      for (const key of keys) expect(store.get(key).info.name).toBe(key)
      for (const key of keys) store.remove(key)
      expect(store.ids().size).toBe(0)
    }), { numRuns: 20 })
  })
})

describe('the database file', () => {
  test('is refused while another store has it open', () => {
    expect(() => new SnapshotStore(path, systemClock)).toThrow(expect.objectContaining({ code: 'ENVIRONMENT', message: expect.stringContaining('in use') }))
  })

  test('of the first version is read and gets what the second one has', () => {
    create('base', { kind: 'committed', labels: { a: '1' } })
    store.close()
    const database = new DatabaseSync(path)
    database.exec('DROP INDEX snapshots_by_active_key; ALTER TABLE snapshots DROP COLUMN active_key; PRAGMA user_version = 1')
    database.close()
    store = new SnapshotStore(path, systemClock)
    create('key', { parent: 'base' })
    store.commit('key', 'top', {}, NO_USAGE)
    store.commit('key', 'top', {}, NO_USAGE)
    expect(store.chain('top').map(({ info }) => info.name)).toEqual(['top', 'base'])
  })

  test('is refused when a newer version, another program or nobody wrote it', () => {
    store.close()
    const alter = (sql: string): void => {
      const database = new DatabaseSync(path)
      database.exec(sql)
      database.close()
    }
    alter('PRAGMA user_version = 99')
    expect(() => new SnapshotStore(path, systemClock)).toThrow(expect.objectContaining({ code: 'STATE_INVALID', message: expect.stringContaining('newer') }))
    alter('PRAGMA user_version = 1; PRAGMA application_id = 7')
    expect(() => new SnapshotStore(path, systemClock))
      .toThrow(expect.objectContaining({ code: 'STATE_INVALID', message: expect.stringContaining('another program') }))
    writeFileSync(path, 'no database at all, but long enough to be read as a header of one. '.repeat(20))
    expect(() => new SnapshotStore(path, systemClock)).toThrow(expect.objectContaining({ code: 'STATE_INVALID', message: expect.stringContaining('damaged') }))
    expect(readFileSync(path, 'utf8')).toContain('no database at all')
    rmSync(path)
    appendFileSync(path, '')
    store = new SnapshotStore(path, systemClock)
    expect(create('a')).toBe(1)
  })
})

describe('labels', () => {
  test('are replaced, set and deleted by mask', () => {
    const current = { a: '1', b: '2', 'x/y.z': '3' }
    expect(applyMask(current, { c: '4' }, [])).toEqual({ c: '4' })
    expect(applyMask(current, { c: '4' }, ['labels'])).toEqual({ c: '4' })
    expect(applyMask(current, { a: '9', c: '4' }, ['labels.a', 'labels.b', 'labels.x/y.z'])).toEqual({ a: '9' })
    expect(applyMask(current, { a: '' }, ['labels.a'])).toEqual({ b: '2', 'x/y.z': '3' })
    expect(applyMask(current, { d: '5' }, ['labels', 'labels.a'])).toEqual({ d: '5' })
    for (const path of ['parent', 'name', 'kind', 'label', '']) {
      expect(() => applyMask(current, {}, [path])).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    }
  })

  test('never touch what the mask does not name', () => {
    const labels = fc.dictionary(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }))
    fc.assert(fc.property(labels, labels, fc.string({ minLength: 1 }), (current, wanted, key) => {
      const next = applyMask(current, wanted, [`labels.${key}`])
      const expected = new Map(Object.entries(current))
      expected.delete(key)
      if (Object.hasOwn(wanted, key)) expected.set(key, wanted[key] ?? '')
      expect(new Map(Object.entries(next))).toEqual(expected)
    }))
  })

  test('are bounded in size and number', () => {
    expect(acceptLabels({ a: '', b: 'x' })).toEqual({ b: 'x' })
    expect(() => acceptLabels({ '': 'x' })).toThrow(/empty key/)
    expect(acceptLabels({ k: 'v'.repeat(4095) })).toHaveProperty('k')
    expect(() => acceptLabels({ k: 'v'.repeat(4096) })).toThrow(/4097 bytes/)
    expect(() => acceptLabels(Object.fromEntries(Array.from({ length: 1025 }, (_, at) => [`k${at}`, 'v'])))).toThrow(/1025 labels/)
  })
})
