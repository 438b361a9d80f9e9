// A small eStargz writer for tests: honest by default, with every lie a TOC can tell.
import { gzipSync } from 'node:zlib'
import { type Digest, digestOf } from '../../src/verify/digest.ts'
import { footerBytes } from '../../src/layer/estargz-footer.ts'
import { entry, header, padding, tar, type TarOptions } from './tar-writer.ts'

export type Toc = { version: unknown, entries: TocJson[] | null } & Record<string, unknown>
export type TocJson = Record<string, unknown>

export interface Item extends TarOptions {
  readonly name: string
  /** Fields of the TOC entry beyond what follows from the tar options. */
  readonly toc?: TocJson
}

export interface WriteOptions {
  readonly chunkBytes?: number
  readonly changeToc?: (toc: Toc) => void
  readonly changeJson?: (json: string) => string
  readonly legacyFooter?: boolean
  /** Puts all data into the member of the first header, with inner offsets. */
  readonly oneMember?: boolean
}

export interface Estargz {
  readonly blob: Buffer
  readonly tocDigest: Digest
  readonly digest: Digest
  readonly diffId: Digest
  readonly size: number
  readonly tocOffset: number
  readonly toc: Toc
}

const TYPES: Readonly<Record<string, string>> = { 0: 'reg', 1: 'hardlink', 2: 'symlink', 3: 'char', 4: 'block', 5: 'dir', 6: 'fifo' }

export function estargz (items: readonly Item[], options: WriteOptions = {}): Estargz {
  const members: Buffer[] = []
  const toc: Toc = { version: 1, entries: [] }
  let open: Buffer[] = []
  let tarLength = 0
  const close = (): number => {
    if (open.length > 0) members.push(gzipSync(Buffer.concat(open)))
    open = []
    return members.reduce((sum, member) => sum + member.byteLength, 0)
  }
  const put = (bytes: Buffer): void => {
    open.push(bytes)
    tarLength += bytes.byteLength
  }
  for (const item of items) {
    const data = Buffer.from(item.data ?? '')
    const json = tocOf(item, data)
    toc.entries?.push(json)
    put(item.pax === undefined ? header(item.name, { ...item, size: data.byteLength }) : entry(item.name,
      { ...item, data: '', size: data.byteLength }))
    const chunkBytes = options.chunkBytes ?? 1 << 22
    for (let at = 0; at < data.byteLength; at += chunkBytes) {
      const chunk = data.subarray(at, at + chunkBytes)
      const place = options.oneMember === true ? { innerOffset: tarLength } : { offset: close() }
      const more = { chunkDigest: digestOf(chunk), ...(at + chunkBytes < data.byteLength ? { chunkSize: chunkBytes } : {}), ...place }
      if (at === 0) Object.assign(json, more, item.toc)
      else toc.entries?.push({ name: json['name'], type: 'chunk', chunkOffset: at, ...more })
      put(chunk)
    }
    put(padding(data.byteLength))
  }
  const tocOffset = close()
  options.changeToc?.(toc)
  const json = (options.changeJson ?? ((text) => text))(JSON.stringify(toc, null, '\t'))
  const tocTar = tar(entry('stargz.index.json', { data: json }))
  const footer = options.legacyFooter === true ? legacyFooter(tocOffset) : Buffer.from(footerBytes(tocOffset))
  const blob = Buffer.concat([...members, gzipSync(tocTar), footer])
  return { blob, tocDigest: digestOf(Buffer.from(json)), digest: digestOf(blob), diffId: diffIdOf(items, tocTar), size: blob.byteLength,
    tocOffset, toc }
}

function diffIdOf (items: readonly Item[], tocTar: Buffer): Digest {
  return digestOf(Buffer.concat([...items.map((item) => entry(item.name, item)), tocTar]))
}

function tocOf (item: Item, data: Buffer): TocJson {
  const type = TYPES[item.type ?? '0']
  return {
    name: item.name,
    type,
    ...(type === 'reg' && data.byteLength > 0 ? { size: data.byteLength, digest: digestOf(data) } : {}),
    ...(item.mtime === undefined ? {} : { modtime: new Date(item.mtime * 1000).toISOString().replace('.000Z', 'Z') }),
    ...(item.link === undefined ? {} : { linkName: item.link }),
    mode: item.mode ?? (item.type === '5' ? 0o755 : 0o644),
    ...(item.uid === undefined ? {} : { uid: item.uid }),
    ...(item.gid === undefined ? {} : { gid: item.gid }),
    ...(item.major === undefined ? {} : { devMajor: item.major }),
    ...(item.minor === undefined ? {} : { devMinor: item.minor }),
    ...item.toc
  }
}

export function legacyFooter (tocOffset: number): Buffer {
  const extra = Buffer.from(`${tocOffset.toString(16).padStart(16, '0')}STARGZ`)
  return Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, extra.byteLength, 0]), extra, Buffer.from([1, 0, 0, 0xff, 0xff]), Buffer.alloc(8)
  ])
}
