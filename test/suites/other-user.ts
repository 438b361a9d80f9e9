// Whether another user of this machine can connect to a unix socket.
import { spawnSync } from 'node:child_process'

export const NOBODY = 65_534

/** `connected`, or the errno that the kernel gave. Needs root. */
export function connectAs (uid: number, path: string): string {
  const script = `const socket = require('net').connect(${JSON.stringify(path)})
    socket.on('connect', () => { console.log('connected'); socket.destroy() }).on('error', ({ code }) => console.log(code))`
  return spawnSync(process.execPath, ['-e', script], { uid, gid: uid, encoding: 'utf8', cwd: '/' }).stdout.trim()
}
