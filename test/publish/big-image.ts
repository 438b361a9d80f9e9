// A docker archive with one layer of any size, written without holding it: one large file of noise and zeros, and a
// few hundred small ones.
import { createCipheriv, createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { header } from '../layer/tar-writer.ts'

const MiB = 1024 * 1024

/** `bytes` of content in the large file. */
export async function writeBigImage (path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w')
  try {
    const layer = createHash('sha256')
    let layerBytes = 0
    const put = async (piece: Buffer): Promise<void> => {
      layer.update(piece)
      layerBytes += piece.byteLength
      await file.writeFile(piece)
    }
    const small = Array.from({ length: 300 }, (_, at) => ({ name: `etc/small/${at}`, content: Buffer.from(`file ${at}\n`.repeat(at)) }))
    const size = 512 + bytes + small.reduce((sum, { content }) => sum + 512 + padded(content.byteLength), 0) + 1024
    await file.writeFile(header('layer.tar', { size }))
    await put(header('opt/large', { size: bytes }))
    for (const piece of noise(bytes)) await put(piece)
    for (const { name, content } of small) {
      await put(header(name, { size: content.byteLength }))
      await put(Buffer.concat([content, Buffer.alloc(padded(content.byteLength) - content.byteLength)]))
    }
    await put(Buffer.alloc(1024))
    if (layerBytes !== size) throw new Error(`wrote ${layerBytes} of ${size} bytes`)
    const config = JSON.stringify({
      architecture: 'amd64', os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [`sha256:${layer.digest('hex')}`] }
    })
    for (const [name, text] of [
      ['config.json', config],
      ['manifest.json', JSON.stringify([{ Config: 'config.json', RepoTags: ['big:latest'], Layers: ['layer.tar'] }])]
    ] as const) {
      await file.writeFile(Buffer.concat([header(name, { size: text.length }), Buffer.from(text.padEnd(padded(text.length), '\0'))]))
    }
    await file.writeFile(Buffer.alloc(1024))
  } finally {
    await file.close()
  }
}

/** One MiB of noise (the same every time), three of zeros, and so on. */
function * noise (bytes: number): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16, 2))
  const zeros = Buffer.alloc(MiB)
  for (let at = 0; at < bytes; at += MiB) {
    const piece = at % (4 * MiB) === 0 ? cipher.update(zeros) : zeros
    yield piece.subarray(0, Math.min(MiB, bytes - at))
  }
}

function padded (size: number): number {
  return Math.ceil(size / 512) * 512
}
