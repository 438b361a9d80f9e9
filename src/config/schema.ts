// The config file's shape (design §5): strict, so a misspelled key is an error that names its place.
import { isAbsolute } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../base/errors.ts'
import { BACKGROUND_BYTES_PER_SECOND, GATEWAY_TIMEOUT_MS, PROOF_AFTER_MS, PROOF_BYTES_PER_SECOND, READ_DEADLINE_MS, STORE_BYTES_MAX } from '../base/limits.ts'
import { parseDuration, parseRate, parseSize } from './units.ts'

const path = z.string().refine(isAbsolute, 'must be an absolute path')
const duration = z.string().transform((text, context) => converted(() => parseDuration(text), context))
const size = z.string().transform((text, context) => converted(() => parseSize(text), context))

const rate = z.string().transform((text, context) => converted(() => parseRate(text), context)).refine((bytes) => bytes > 0, 'must be more than nothing')

/** Metrics name images and gateways, and images may be private: nobody but this machine may ask. */
const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|\[::1\]|localhost):(\d{1,5})$/

const ANYWHERE = /^(?:\[[0-9a-fA-F:.]+\]|[^\s:[\]/]+):(\d{1,5})$/

const listen = z.string()
  .refine((text) => Number(LOOPBACK.exec(text)?.[1] ?? Infinity) <= 65_535, 'must be a loopback address with a port, like "127.0.0.1:9437"')

/** A gateway is for other machines, and what it offers is public. */
const listenAnywhere = z.string()
  .refine((text) => Number(ANYWHERE.exec(text)?.[1] ?? Infinity) <= 65_535, 'must be an address with a port, like "0.0.0.0:8080"')

const source = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('gateway'),
    url: z.url({ protocol: /^https?$/ }),
    timeout: duration.default(GATEWAY_TIMEOUT_MS),
    token_file: path.optional(),
    ca_file: path.optional()
  }),
  z.strictObject({ type: z.literal('car'), path })
])

export const configSchema = z.strictObject({
  root: path.default('/var/lib/ipfs-snapshotter'),
  state: path.default('/run/ipfs-snapshotter'),
  grpc: z.strictObject({ address: path.optional() }).prefault({}),
  containerd: z.strictObject({ address: path.default('/run/containerd/containerd.sock') }).prefault({}),
  mount: z.strictObject({ driver: z.enum(['auto', 'erofs', 'erofs-loop', 'fuse']).default('auto') }).prefault({}),
  cache: z.strictObject({
    max_size: size.default(20 * 2 ** 30),
    key: z.enum(['disk', 'boot']).default('disk')
  }).prefault({}),
  read: z.strictObject({
    deadline: duration.default(READ_DEADLINE_MS),
    on_failure: z.enum(['eio', 'block', 'kill']).default('eio'),
    on_violation: z.enum(['eio', 'kill']).default('kill')
  }).prefault({}),
  fetch: z.strictObject({
    background: z.enum(['on', 'off']).default('on'),
    background_rate: rate.default(BACKGROUND_BYTES_PER_SECOND)
  }).prefault({}),
  trust: z.strictObject({
    prove: z.enum(['background', 'before-commit']).default('background'),
    prove_after: duration.default(PROOF_AFTER_MS),
    prove_rate: size.refine((bytes) => bytes > 0, 'must be more than nothing').default(PROOF_BYTES_PER_SECOND)
  }).prefault({}),
  http: z.strictObject({ address: listen.optional() }).prefault({}),
  registry: z.strictObject({ address: listen.optional() }).prefault({}),
  ipfs_api: z.strictObject({
    address: listen.optional(),
    folder: path.optional(),
    namespace: z.string().regex(/^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/, 'must be a namespace of containerd, like "default"').default('default')
  }).prefault({}),
  store: z.strictObject({ max_size: size.default(STORE_BYTES_MAX) }).prefault({}),
  gateway: z.strictObject({ address: listenAnywhere.optional() }).prefault({}),
  source: z.array(source).default([])
})

export type ConfigFile = z.infer<typeof configSchema>

function converted (convert: () => number, context: z.core.$RefinementCtx<string>): number {
  try {
    return convert()
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) })
    return z.NEVER
  }
}
