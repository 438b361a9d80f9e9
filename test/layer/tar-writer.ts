// A small tar writer for tests: any header field, PAX records, GNU forms, and lies.

export interface TarOptions {
  readonly type?: string
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly mtime?: number
  readonly link?: string | Uint8Array
  readonly major?: number
  readonly minor?: number
  readonly data?: Uint8Array | string
  readonly pax?: Readonly<Record<string, string | Uint8Array>>
  /** Overrides the size field. */
  readonly size?: number
  readonly magic?: string
  readonly prefix?: string
  /** Changes the finished header, before its checksum. */
  readonly patch?: (header: Buffer) => void
}

type Name = string | Uint8Array

export function tar (...entries: readonly Uint8Array[]): Buffer {
  return Buffer.concat([...entries, Buffer.alloc(1024)])
}

/** One entry; long names and links, large ids and xattrs need `pax`. */
export function entry (name: Name, options: TarOptions = {}): Buffer {
  const data = bytes(options.data ?? '')
  const parts: Buffer[] = []
  if (options.pax !== undefined) parts.push(entry('pax', { type: 'x', data: paxRecords(options.pax) }))
  parts.push(header(name, { ...options, size: options.size ?? data.byteLength }), data, padding(data.byteLength))
  return Buffer.concat(parts)
}

export function header (name: Name, options: TarOptions): Buffer {
  const block = Buffer.alloc(512)
  bytes(name).copy(block, 0, 0, 100)
  putNumber(block, 100, 8, options.mode ?? (options.type === '5' ? 0o755 : 0o644))
  putNumber(block, 108, 8, options.uid ?? 0)
  putNumber(block, 116, 8, options.gid ?? 0)
  putNumber(block, 124, 12, options.size ?? 0)
  putNumber(block, 136, 12, options.mtime ?? 0)
  block.write(options.type ?? '0', 156, 'latin1')
  bytes(options.link ?? '').copy(block, 157, 0, 100)
  block.write(options.magic ?? 'ustar\x0000', 257, 'latin1')
  putNumber(block, 329, 8, options.major ?? 0)
  putNumber(block, 337, 8, options.minor ?? 0)
  block.write(options.prefix ?? '', 345, 'latin1')
  options.patch?.(block)
  return sum(block)
}

/** Writes the checksum. */
export function sum (block: Buffer): Buffer {
  block.fill(0x20, 148, 156)
  const total = block.reduce((left, byte) => left + byte, 0)
  block.write(`${total.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

/** Octal when it fits, else base-256 in two's complement. */
export function putNumber (block: Buffer, at: number, length: number, value: number): void {
  const octal = value >= 0 ? value.toString(8) : ''
  if (value >= 0 && octal.length < length) {
    block.write(`${octal.padStart(length - 1, '0')}\0`, at, 'latin1')
    return
  }
  let rest = BigInt.asUintN(length * 8, BigInt(value))
  for (let i = length - 1; i >= 0; i--, rest >>= 8n) block[at + i] = Number(rest & 0xffn)
  block[at] = (block[at] ?? 0) | 0x80
}

export function paxRecords (records: Readonly<Record<string, string | Uint8Array>>): Buffer {
  return Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, value)))
}

export function paxRecord (key: string, value: string | Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), bytes(value), Buffer.from('\n')])
  let length = body.byteLength + 1
  while (String(length).length + body.byteLength !== length) length++
  return Buffer.concat([Buffer.from(String(length)), body])
}

export function gnuLong (type: 'L' | 'K', name: Name): Buffer {
  return entry('././@LongLink', { type, data: Buffer.concat([bytes(name), Buffer.alloc(1)]), magic: 'ustar  \0' })
}

export function padding (size: number): Buffer {
  return Buffer.alloc((512 - size % 512) % 512)
}

function bytes (value: Name): Buffer {
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : Buffer.from(value)
}
