// Whether another user of this machine can connect to a unix socket.
import { spawnSync } from 'node:child_process'

export const NOBODY = 65_534

/** `connected`, or the errno that the kernel gave. Needs root. */
export function connectAs (uid: number, path: string): string {
  // It becomes the other user itself: who cannot look into the home of this clone's owner could not start its Node.
  const script = `process.setgroups([]); process.setgid(${uid}); process.setuid(${uid})
    const socket = require('net').connect(${JSON.stringify(path)})
    socket.on('connect', () => { console.log('connected'); socket.destroy() }).on('error', ({ code }) => console.log(code))`
  return spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', cwd: '/' }).stdout.trim()
}
