// A process of its own that reads ranges of files, all at once, and prints what each read gave: `sha256 hex` or an errno's
// name, one JSON line per range as it ends, after a first line "started". A read that hangs hangs this process, not the test.
// argv: ranges as JSON [[path, offset, length], …]. UV_THREADPOOL_SIZE bounds how many reads are in the kernel at once.
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'

const ranges = JSON.parse(process.argv[2])
const files = await Promise.all(ranges.map(async ([path]) => await open(path, 'r')))
process.stdout.write('started\n')
await Promise.all(ranges.map(async ([, offset, length], index) => {
  let outcome
  try {
    const bytes = Buffer.alloc(length)
    let done = 0
    while (done < length) {
      const { bytesRead } = await files[index].read(bytes, done, length - done, offset + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    outcome = createHash('sha256').update(bytes.subarray(0, done)).digest('hex')
  } catch (error) {
    outcome = error.code
  }
  process.stdout.write(`${JSON.stringify({ index, outcome })}\n`)
}))
