// Reads /proc/self/mountinfo (proc_pid_mountinfo(5)): fields by blanks, octal escapes in paths.

export interface MountEntry {
  readonly target: string
  readonly fsType: string
  readonly source: string
}

export function parseMountInfo (text: string): MountEntry[] {
  return text.split('\n').filter((line) => line !== '').map((line) => {
    const [left = '', right = ''] = line.split(' - ')
    const [fsType = '', source = ''] = right.split(' ')
    return { target: unescape(left.split(' ')[4] ?? ''), fsType, source: unescape(source) }
  })
}

export function isMounted (text: string, target: string): boolean {
  return parseMountInfo(text).some((entry) => entry.target === target)
}

/** Only blanks and backslashes are escaped (seq_path); all other bytes of a path stand for themselves. */
function unescape (path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))
}
