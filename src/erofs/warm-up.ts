// A made-up TOC like those of real images, for a thread to practise on.

const FOLDERS = 40
const FILES = 50 // in each
const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`
const TIMES = ['2026-01-02T03:04:05Z', '2026-01-02T03:04:05.123456789Z']

export interface PracticeToc { readonly json: Uint8Array, readonly tocOffset: number }

/** 2,000 entries: files of one chunk and of several, small ones that share a member, links, folders, an odd spelling. */
export function practiceToc (): PracticeToc {
  const entries: object[] = []
  let offset = 512
  for (let folder = 0; folder < FOLDERS; folder++) {
    const path = `usr/lib/part-${folder % 7}/folder-${folder}/`
    entries.push({ name: path, type: 'dir', modtime: TIMES[0], mode: 0o755, userName: 'root' })
    for (let file = 0; file < FILES; file++) {
      const name = `${path}file-${(file * 37) % FILES}.py${file === 7 ? 'é' : ''}`
      const common = { name, modtime: TIMES[file % 2], mode: 0o644, uid: file % 3, ...file === 9 ? { xattrs: { 'user.x': 'eA==' } } : {} }
      if (file % 10 === 1) entries.push({ ...common, type: 'symlink', linkName: `../target-${file}` })
      else if (file % 25 === 2) entries.push({ ...common, type: 'hardlink', linkName: `${path}file-0.py` })
      else if (file % 10 === 3) entries.push({ ...common, type: 'reg' })
      else {
        const chunks = file % 20 === 4 ? 3 : 1
        const size = chunks * 65_536
        const place = { digest: DIGEST, chunkDigest: DIGEST, ...chunks > 1 ? { digest: `${DIGEST.slice(0, -1)}0`, chunkSize: 65_536 } : {} }
        entries.push({ ...common, type: 'reg', size, offset, ...place })
        for (let chunk = 1; chunk < chunks; chunk++) {
          entries.push({ name, type: 'chunk', offset: offset + chunk * 20_000, chunkOffset: chunk * 65_536, chunkSize: 65_536, chunkDigest: DIGEST })
        }
        offset += chunks * 20_000
      }
    }
  }
  const lines = entries.map((entry) => JSON.stringify(entry)).join(',\n')
  return { json: Buffer.from(`{"version":1,"entries":[\n${lines}\n]}`), tocOffset: offset }
}
