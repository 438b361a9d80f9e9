// The package as somebody has it who installed what `npm pack` made: below node_modules of an empty folder, beside its
// dependencies, which are the ones of this clone.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { execute, type Outcome } from '../e2e/command.ts'

const CLONE = resolve(import.meta.dirname, '../..')

export class InstalledPackage {
  readonly folder = mkdtempSync(join(tmpdir(), 'package-'))

  static make (): InstalledPackage {
    const user = new InstalledPackage()
    const at = join(user.folder, 'node_modules', 'ipfs-snapshotter')
    mkdirSync(at, { recursive: true })
    const pack = ['pack', '--ignore-scripts=false', '--silent', '--pack-destination', user.folder]
    execFileSync('npm', pack, { cwd: CLONE, stdio: ['ignore', 'ignore', 'inherit'] })
    const [archive = ''] = readdirSync(user.folder).filter((name) => name.endsWith('.tgz'))
    execFileSync('tar', ['-xzf', join(user.folder, archive), '-C', at, '--strip-components=1'])
    const { dependencies } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
    for (const name of [...Object.keys(dependencies), `node-linux-${process.arch}`]) {
      const link = join(user.folder, 'node_modules', name)
      mkdirSync(dirname(link), { recursive: true })
      symlinkSync(join(CLONE, 'node_modules', name), link)
    }
    user.write('package.json', '{ "type": "module" }\n')
    user.write('empty.toml', '')
    return user
  }

  write (name: string, text: string): string {
    const path = join(this.folder, name)
    writeFileSync(path, text)
    return path
  }

  /** Runs a program of the user with plain Node. */
  async node (name: string, ...args: readonly string[]): Promise<Outcome> {
    return await execute(process.execPath, [join(this.folder, name), ...args])
  }

  async command (...args: readonly string[]): Promise<Outcome> {
    const program = join(this.folder, 'node_modules', 'ipfs-snapshotter', 'scripts', 'ipfs-snapshotter')
    return await execute(program, [...args, '--config', join(this.folder, 'empty.toml')])
  }

  /** What a TypeScript user sees who checks libraries, too, and has no types of Node. */
  async typeErrors (name: string): Promise<string> {
    const tsc = join(CLONE, 'node_modules', 'typescript', 'bin', 'tsc')
    const options = ['--ignoreConfig', '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024']
    const { stdout, stderr } = await execute(process.execPath, [tsc, ...options, join(this.folder, name)])
    return stdout + stderr
  }

  remove (): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
