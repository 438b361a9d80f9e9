// The files of one `add`, by the paths that the client gave them: files in folders become UnixFS directories when all are there.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { PATH_DEPTH_MAX, UPLOAD_NAMES_MAX } from '../base/limits.ts'
import type { AddedEntry } from '../http/kubo-writes.ts'
import type { Link } from '../publish/dag-pb.ts'
import { type Directory, type NodeSink, writeDirectory } from '../publish/unixfs-directory.ts'
import type { FileRoot } from '../publish/unixfs-file.ts'

type Folder = Map<string, Folder | FileRoot>

export class AddedTree {
  /** Folders of the top level, and its files when they are wrapped. */
  readonly #top: Folder = new Map()
  readonly #wrap: boolean
  readonly #files: AddedEntry[] = []
  /** Files of the top level; two may have one name. */
  readonly #roots: CID[] = []
  #names = 0

  constructor (wrap: boolean) {
    this.#wrap = wrap
  }

  /** @throws INVALID_ARGUMENT for a path that leads elsewhere or is taken, LIMIT_EXCEEDED */
  addFile (path: string, file: FileRoot): void {
    const names = this.#read(path)
    this.#files.push({ name: names.join('/'), cid: file.cid, size: file.tsize, fileBytes: file.size })
    const name = names.pop() ?? (this.#wrap ? file.cid.toString() : undefined)
    if (name === undefined || (names.length === 0 && !this.#wrap)) {
      this.#roots.push(file.cid)
      return
    }
    const folder = this.#folder(names, path)
    if (folder.has(name)) throw taken(path)
    folder.set(name, file)
  }

  addFolder (path: string): void {
    this.#folder(this.#read(path), path)
  }

  /** Writes the directories: all entries, files first and a directory after what is in it, and the CIDs that hold everything. */
  async finish (sink: NodeSink): Promise<{ readonly entries: AddedEntry[], readonly roots: CID[] }> {
    const entries = [...this.#files]
    if (this.#wrap) {
      const root = await this.#write(sink, this.#top, '', entries)
      return { entries, roots: [root.cid] }
    }
    const roots = [...this.#roots]
    for (const [name, folder] of this.#top) if (folder instanceof Map) roots.push((await this.#write(sink, folder, name, entries)).cid)
    return { entries, roots }
  }

  async #write (sink: NodeSink, folder: Folder, path: string, entries: AddedEntry[]): Promise<Directory> {
    const links: Link[] = []
    for (const [name, child] of folder) {
      const { cid, tsize } = child instanceof Map ? await this.#write(sink, child, path === '' ? name : `${path}/${name}`, entries) : child
      links.push({ name, cid, tsize })
    }
    const directory = await writeDirectory(sink, links)
    entries.push({ name: path, cid: directory.cid, size: directory.tsize, fileBytes: null })
    return directory
  }

  #read (path: string): string[] {
    if (++this.#names > UPLOAD_NAMES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `more than ${UPLOAD_NAMES_MAX} files in one upload`)
    const names = path.split('/').filter((name) => name !== '')
    if (names.length > PATH_DEPTH_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `a path of ${names.length} names, limit ${PATH_DEPTH_MAX}`)
    if (names.some((name) => name === '.' || name === '..' || name.includes('\0'))) {
      throw new SnapshotterError('INVALID_ARGUMENT', `${JSON.stringify(path.slice(0, 120))} is no path of a file`)
    }
    return names
  }

  #folder (names: readonly string[], path: string): Folder {
    let folder = this.#top
    for (const name of names) {
      const next = folder.get(name) ?? new Map<string, Folder | FileRoot>()
      if (!(next instanceof Map)) throw taken(path)
      folder.set(name, next)
      folder = next
    }
    return folder
  }
}

function taken (path: string): SnapshotterError {
  return new SnapshotterError('INVALID_ARGUMENT', `${JSON.stringify(path.slice(0, 120))} is sent twice, or as a file and a folder`)
}
