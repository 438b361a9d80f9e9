// A user of the package, in plain JavaScript: makes all the calls that its argument lists at once, prints one line of JSON for
// each answer in their order, and one for what still keeps this process alive.
import * as library from 'ipfs-snapshotter'
import { setTimeout as sleep } from 'node:timers/promises'

async function ask ({ call, reference, options = {}, abortAfter }) {
  const signal = abortAfter === undefined ? undefined : AbortSignal.timeout(abortAfter)
  const progress = []
  const onProgress = ({ event }) => { progress.push(event) }
  try {
    const facts = await library[call](reference, { ...options, signal, ...call === 'verifyImage' ? { onProgress } : {} })
    return { facts, progress }
  } catch (error) {
    const { code, line } = error
    return { code, line, isOurs: error instanceof library.SnapshotterError && library.isSnapshotterError(error) && library.ERROR_CODES.includes(code) }
  }
}

const answers = await Promise.all(JSON.parse(process.argv[2]).map(ask))
await sleep(100) // sockets that are destroyed close a turn later
for (const answer of answers) process.stdout.write(`${JSON.stringify(answer)}\n`)
process.stdout.write(`${JSON.stringify(process.getActiveResourcesInfo().filter((name) => !/^(Pipe|TTY|File|FSReq)/.test(name)))}\n`)
