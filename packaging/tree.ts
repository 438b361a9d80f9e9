// A folder to fill with what a package installs. Times, modes and order are made one, so that two builds give the same bytes.
import { chmodSync, copyFileSync, lstatSync, lutimesSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'

export class Tree {
  readonly folder: string

  constructor (folder: string) {
    this.folder = folder
    mkdirSync(folder, { recursive: true })
  }

  copy (from: string, to: string): void {
    copyFileSync(from, this.#place(to))
    chmodSync(join(this.folder, to), 0o644)
  }

  program (from: string, to: string): void {
    this.copy(from, to)
    chmodSync(join(this.folder, to), 0o755)
  }

  write (to: string, text: string): void {
    writeFileSync(this.#place(to), text)
  }

  /** gzip's header has no name and no time when it comes from here. */
  writeZipped (to: string, text: string): void {
    writeFileSync(this.#place(to), gzipSync(text, { level: 9 }))
  }

  link (to: string, target: string): void {
    symlinkSync(target, this.#place(to))
  }

  /** Copies what `wanted` says yes to, of all files below `from`. */
  copyFolder (from: string, to: string, wanted: (path: string) => boolean): void {
    for (const path of listing(from)) if (wanted(path)) this.copy(join(from, path), join(to, path))
  }

  read (path: string): string {
    return readFileSync(join(this.folder, path), 'utf8')
  }

  /** Paths of files, sorted. */
  files (): string[] {
    return listing(this.folder)
  }

  size (path: string): number {
    return lstatSync(join(this.folder, path)).size
  }

  /** Everything is from `when`, in seconds since 1970; folders are 0755. */
  settle (when: number): void {
    const visit = (folder: string): void => {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name)
        if (entry.isDirectory()) visit(path)
        else lutimesSync(path, when, when)
      }
      chmodSync(folder, 0o755)
      lutimesSync(folder, when, when)
    }
    visit(this.folder)
  }

  #place (to: string): string {
    const path = join(this.folder, to)
    mkdirSync(dirname(path), { recursive: true })
    return path
  }
}

/** Of files and links that are no folders, sorted, whatever the file system's order is. */
function listing (folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
}
