import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { type Format, negotiate, parseAccept } from '../../src/http/gateway-accept.ts'
import { contentDisposition, matchesEtag } from '../../src/http/gateway-headers.ts'
import { decodeDagCbor, decodeDagJson, linksOf, memberOf } from '../../src/http/gateway-ipld.ts'
import { parseListen } from '../../src/http/gateway-listen.ts'
import { entityBytesText, parseEntityBytes, resolveSpan } from '../../src/http/gateway-range.ts'
import { murmur3x64 } from '../../src/ipfs/murmur3.ts'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import { murmur3128 } from '@multiformats/murmur3'
import { block } from '../suites/dags.ts'

const RAW = 'application/vnd.ipld.raw'
const CAR = 'application/vnd.ipld.car'

/** What a call throws: its HTTP status, or its code. */
function refusal (call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    const { code, details } = error as { code: unknown, details: { status?: unknown } }
    return details.status ?? code
  }
  return 'nothing'
}

function negotiated (query: string, accept?: string): unknown {
  const got: Format[] = []
  const status = refusal(() => got.push(negotiate(new URLSearchParams(query), accept)))
  const [format] = got
  if (format?.kind === 'car') return `car dups=${format.dups ? 'y' : 'n'}`
  return format?.kind ?? status
}

describe('content negotiation', () => {
  test.each([
    // query, Accept, answer
    ['format=raw', undefined, 'raw'],
    ['format=car', undefined, 'car dups=n'],
    ['', RAW, 'raw'],
    ['', CAR, 'car dups=n'],
    ['', 'Application/VND.ipld.CAR ; Dups=y', 'car dups=y'],
    ['', `${CAR};dups="y"`, 'car dups=y'],
    ['format=raw', CAR, 'raw'],
    ['format=car', RAW, 'car dups=n'],
    ['format=car', `${CAR}; version=1; order=dfs; dups=y`, 'car dups=y'],
    ['format=car&car-dups=n', `${CAR}; dups=y`, 'car dups=n'],
    ['format=car&car-order=dfs&car-version=1&car-dups=y', undefined, 'car dups=y'],
    ['car-dups=y', CAR, 'car dups=y'],
    ['', `${CAR};order=unk`, 'car dups=n'],
    ['', `${RAW};q=0.5, ${CAR};q=0.9`, 'car dups=n'],
    ['', `${RAW}, ${CAR}`, 'raw'],
    ['', `${RAW};q=0, ${CAR};q=0.1`, 'car dups=n'],
    ['', `text/html, ${RAW};q=0.1, */*;q=0.01`, 'raw'],
    ['', `${CAR};order=foo, ${CAR};order=dfs;dups=y;q=0.5`, 'car dups=y'],
    ['', `text/html;title="a, ${RAW}", ${CAR}`, 'car dups=n'],
    ['', 'application/vnd.ipfs.ipns-record', 'ipns-record'],
    // refusals
    ['', undefined, 400],
    ['', '*/*', 400],
    ['', 'application/*;q=0.5', 400],
    ['', 'text/html', 406],
    ['', `${RAW};q=0`, 400],
    ['', 'text/html, application/json', 406],
    ['', `${CAR};version=2`, 406],
    ['', `${CAR};order=foo`, 406],
    ['', `${CAR};dups=maybe`, 406],
    ['format=car&car-version=2', undefined, 400],
    ['format=car&car-order=random', undefined, 400],
    ['format=car&car-dups=2', undefined, 400],
    ['format=tar', undefined, 406],
    ['format=dag-json', undefined, 406],
    ['format=banana', RAW, 400],
    ['format=', RAW, 400]
  ])('?%s with Accept %s: %s', (query, accept, answer) => {
    expect(negotiated(query, accept)).toBe(answer)
  })

  test('never throws anything but a refusal, whatever the header', () => {
    fc.assert(fc.property(fc.string(), fc.string(), (accept, format) => {
      expect(['raw', 'ipns-record', 'car dups=n', 'car dups=y', 400, 406]).toContain(negotiated(`format=${encodeURIComponent(format)}`, accept))
      expect(['raw', 'ipns-record', 'car dups=n', 'car dups=y', 400, 406]).toContain(negotiated('', accept))
    }))
  })

  test('orders by q and keeps the order of equals', () => {
    expect(parseAccept('a/a;q=0.2, b/b, c/c;q=0.2, d/d;q=2, e/e;q=x, f/f;q=1.0').map(({ type }) => type)).toEqual(['b/b', 'f/f', 'a/a', 'c/c'])
  })
})

describe('entity-bytes', () => {
  test.each([
    ['0:*', 1026, 0, 1026], ['0:0', 1026, 0, 1], ['512:1023', 1026, 512, 1024], ['512:-256', 1026, 512, 771],
    ['-5:*', 1026, 1021, 1026], ['-9999:*', 1026, 0, 1026], ['-9999:-3', 1026, 0, 1024], ['1000:5000', 1026, 1000, 1026],
    ['-1:-1', 1026, 1025, 1026], ['0:999999999999999', 1026, 0, 1026]
  ])('%s of %i bytes is [%i, %i)', (text, size, from, to) => {
    expect(resolveSpan(parseEntityBytes(text), size)).toEqual({ from, to })
  })

  test.each([['0:*', 0], ['5:*', 0], ['900:-500', 1026], ['-10:5', 1026]])('%s of %i bytes is empty', (text, size) => {
    expect(resolveSpan(parseEntityBytes(text), size)).toBeNull()
  })

  test.each(['', '5', '5:', ':5', '*:5', '1:2:3', 'a:b', '1.5:2', '0x1:2', ' 1:2', '5:4', '-3:-4', '9999999999999999:*', '+1:2', '--1:*'])(
    'refuses %j', (text) => {
      expect(refusal(() => parseEntityBytes(text))).toBe(400)
    })

  test.each([['1026:*', 1026], ['2000:3000', 1026], ['-0:*', 1026], ['-5000:-2000', 1026]])('refuses %s of %i bytes: nothing of it is there', (text, size) => {
    expect(() => resolveSpan(parseEntityBytes(text), size)).toThrow('lies outside')
  })

  test('a span is always inside the entity, and its text is what was asked', () => {
    const position = fc.integer({ min: -300, max: 300 })
    fc.assert(fc.property(position, fc.option(position), fc.integer({ min: 0, max: 200 }), (from, to, size) => {
      const text = `${from}:${to ?? '*'}`
      const backwards = to !== null && to < from && (to < 0) === (from < 0)
      expect(refusal(() => parseEntityBytes(text))).toBe(backwards ? 400 : 'nothing')
      if (backwards) return
      const range = parseEntityBytes(text)
      const [first, last] = [from < 0 ? size + from : from, to === null ? size - 1 : to < 0 ? size + to : to]
      const outside = size > 0 && (first >= size || last < 0)
      expect(entityBytesText(range)).toBe(text)
      expect(refusal(() => resolveSpan(range, size))).toBe(outside ? 400 : 'nothing')
      if (outside) return
      const wanted = Array.from({ length: size }, (_, at) => at).filter((at) => at >= first && at <= last)
      expect(resolveSpan(range, size)).toEqual(wanted.length === 0 ? null : { from: wanted[0], to: (wanted.at(-1) ?? 0) + 1 })
    }))
  })
})

describe('headers', () => {
  test.each([
    [null, 'bafk.bin', 'attachment; filename="bafk.bin"'],
    ['foobar.bin', 'x', 'attachment; filename="foobar.bin"; filename*=UTF-8\'\'foobar.bin'],
    ['testтест.pdf', 'x', 'attachment; filename="test____.pdf"; filename*=UTF-8\'\'test%D1%82%D0%B5%D1%81%D1%82.pdf'],
    ['a"b\\c\r\nd\'(e)*', 'x', 'attachment; filename="a_b_c__d\'(e)*"; filename*=UTF-8\'\'a%22b%5Cc%0D%0Ad%27%28e%29%2A'],
    ['\ud800', 'x', 'attachment; filename="_"; filename*=UTF-8\'\'%EF%BF%BD']
  ])('the file name %j', (filename, fallback, header) => {
    expect(contentDisposition(filename, fallback)).toBe(header)
  })

  test.each([
    ['"a"', true], ['W/"a"', true], ['"b", "a"', true], ['*', true], [' "a" ', true], ['"b"', false], ['a', false], [null, false]
  ])('If-None-Match %s', (header, matches) => {
    expect(matchesEtag(header, 'W/"a"')).toBe(matches)
  })

  test.each([['127.0.0.1:80', '127.0.0.1', 80], ['[::1]:0', '::1', 0], ['localhost:8080', 'localhost', 8080]])('listens on %s', (text, host, port) => {
    expect(parseListen(text)).toEqual({ host, port })
  })

  test.each(['', ':80', '80', 'host', 'host:', '::1:80', 'host:99999', 'a b:1', 'http://x:1'])('refuses to listen on %j', (text) => {
    expect(refusal(() => parseListen(text))).toBe('CONFIG_INVALID')
  })
})

describe('IPLD documents', () => {
  const [a, b] = [block('a').cid, block('b').cid]
  const document = { one: a, list: [1, { deep: b }, 'text', null, true, 1.5, -70000, new Uint8Array([1])], 'key with / in it': a, empty: {} }

  test.each([
    ['DAG-CBOR', decodeDagCbor(dagCbor.encode(document), 'it')],
    ['DAG-JSON', decodeDagJson(dagJson.encode(document), 'it')]
  ])('%s: links in order, members by path', (_name, value) => {
    expect([...linksOf(value)].map(String).sort()).toEqual([a, a, b].map(String).sort())
    expect(memberOf(value, 'one')).toEqual({ kind: 'link', cid: a })
    const list = memberOf(value, 'list')
    expect(list === null ? null : memberOf(memberOf(list, '1') ?? list, 'deep')).toEqual({ kind: 'link', cid: b })
    expect([memberOf(value, 'nope'), memberOf({ kind: 'scalar' }, 'x')]).toEqual([null, null])
    expect(['9', '01', '-1'].map((index) => memberOf(list ?? value, index))).toEqual([null, null, null])
  })

  test('every document of the public encoder reads back with its links', () => {
    const leafValue = fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.constant(null), fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(a, b))
    fc.assert(fc.property(fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 4 }, leafValue, fc.array(tie('value'), { maxLength: 4 }), fc.dictionary(fc.string(), tie('value'), { maxKeys: 4 }))
    })).value, (value) => {
      const found: string[] = []
      const visit = (item: unknown): void => {
        if (item instanceof CID) found.push(item.toString())
        else if (typeof item === 'object' && item !== null) for (const child of Object.values(item)) visit(child)
      }
      visit(value)
      expect([...linksOf(decodeDagCbor(dagCbor.encode(value), 'it'))].map(String).sort()).toEqual(found.sort())
    }))
  })

  test.each([
    ['nothing', ''], ['bytes behind it', '0000'], ['a cut text', '6461'], ['an indefinite list', '9fff'], ['a map key twice', 'a2616100616100'],
    ['a number as a key', 'a10000'], ['another tag', 'c100'], ['a link without its zero', 'd82a4101'], ['a link that is no CID', 'd82a420001'],
    ['a list longer than the block', '9b00ffffffffffffff00'], ['65 lists in each other', `${'81'.repeat(70)}00`]
  ])('refuses CBOR with %s', (_what, hex) => {
    expect(refusal(() => decodeDagCbor(Buffer.from(hex, 'hex'), 'it'))).toBe('BLOCK_INVALID')
  })

  test.each(['', '{', '{"/":"no cid"}', '\u0000', '['.repeat(100) + ']'.repeat(100)])('refuses JSON %j', (text) => {
    expect(refusal(() => decodeDagJson(Buffer.from(text), 'it'))).toBe('BLOCK_INVALID')
  })
})

test('murmur3 is the one that other implementations use', async () => {
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
    expect(Buffer.from(murmur3x64(bytes))).toEqual(Buffer.from(await murmur3128.encode(bytes)).subarray(0, 8))
  }))
})
