// `status` for people: a line for each image, layer, source, container that the policy stopped, and error of late.
import type { Status } from '../daemon/status.ts'

export function describeStatus (status: Status): string {
  const { driver, worker, images, layers, gateways, policy, errors, bytesServedUnverified } = status
  return [
    `driver ${driver}, worker ${worker.pid} (${worker.restarts} restarts), ${bytesServedUnverified} bytes served unverified`,
    ...images.map(describeImage),
    ...layers.map(({ digest, size, fetchedBytes, cachedBytes, state, percent }) =>
      `layer ${digest.slice(0, 19)} ${state} (${percent} %): ${size} bytes, ${fetchedBytes} fetched, ${cachedBytes} cached`),
    ...gateways.map(describeSource),
    ...policy.containers.map(({ at, container, namespace, image, line }) => `stopped ${container} (${namespace}) of ${image} at ${when(at)}: ${line}`),
    ...errors.map(({ at, count, event, line }) => `${event} at ${when(at)}${count > 1 ? `, ${count} times` : ''}: ${line}`)
  ].map((line) => `${printable(line)}\n`).join('')
}

function describeImage ({ name, reference, state, percent, size, fetchedBytes, proven }: Status['images'][number]): string {
  const named = name === null ? reference : `${name} ${reference}`
  return `image ${named} ${state} (${percent} %): ${size} bytes, ${fetchedBytes} fetched, ${proven ? 'proven' : 'not proven yet'}`
}

function describeSource ({ name, requests, failures, bytes, budget, health, retryAt }: Status['gateways'][number]): string {
  const mood = retryAt !== null ? `, left alone until ${when(retryAt)}` : health === 'suspect' ? ', suspect' : ''
  return `source ${name}: ${requests} requests, ${failures} failed, ${bytes} bytes${budget === null ? '' : `, ${budget} requests left`}${mood}`
}

function when (ms: number): string {
  return new Date(ms).toISOString()
}

/** Names and errors come from strangers: nothing in them may move the cursor or turn the text around. */
function printable (text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`)
}
