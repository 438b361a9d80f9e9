// The clients of the matrix: how each spells an image that is named by its CID, pulls it and runs it.
import { type ClientNode, GATEWAY, type GoProgram, type GoPrograms, nerdctl } from './client-node.ts'
import type { Published } from './harness.ts'

export interface Wares {
  readonly published: Published
  readonly programs: GoPrograms
}

/** Spellings of `ipfs://CID` that clients' grammars admit. */
const SPELLINGS = {
  'ipfs:0/CID': (_: ClientNode, cid: string) => `ipfs:0/${cid}:latest`,
  'localhost:PORT/ipfs/CID': ({ host }: ClientNode, cid: string) => `${host}/ipfs/${cid}:latest`,
  'GATEWAY/ipfs/CID': (_: ClientNode, cid: string) => `${GATEWAY}/ipfs/${cid}:latest`,
  'ipfs://CID': (_: ClientNode, cid: string) => `ipfs://${cid}`
}

export interface Client {
  readonly name: string
  readonly reference: keyof typeof SPELLINGS
  /** On PATH, else the row is skipped. */
  readonly needs?: 'go' | 'nerdctl'
  /** Of containerd; all by default. */
  readonly isFor?: (major: number) => boolean
  /** Where it is not, its own code fetches everything. */
  readonly isLazy: (major: number) => boolean
  readonly plugin?: string
  readonly hasCri?: boolean
  /** Our content store in the place of containerd's own. */
  readonly hasOurContent?: boolean
  readonly unpacking?: 'limited'
  readonly pull: (node: ClientNode, name: string, wares: Wares) => Promise<unknown>
  /** What the image's program prints; `ctr run` by default. */
  readonly run?: (node: ClientNode, name: string, wares: Wares, ...words: readonly string[]) => Promise<string>
}

export const spelled = ({ reference }: Client, node: ClientNode, cid: string): string => SPELLINGS[reference](node, cid)

const always = (): boolean => true
const never = (): boolean => false
const modern = (major: number): boolean => major >= 2

const ctr = (reference: Client['reference'], ...flags: readonly string[]): Pick<Client, 'reference' | 'pull'> => ({
  reference,
  pull: async ({ scene, hosts }, name) => await scene.containerd.ctr('images', 'pull', ...flags,
    ...reference.startsWith('localhost') ? ['--plain-http'] : ['--hosts-dir', hosts], '--snapshotter', scene.plugin, name)
})
const go = (program: GoProgram, ...options: readonly string[]): Pick<Client, 'reference' | 'needs' | 'pull'> => ({
  reference: 'localhost:PORT/ipfs/CID',
  needs: 'go',
  pull: async ({ scene }, name, { programs }) => await programs.run(program, scene.containerd.address, scene.plugin, name, ...options)
})
/** `nerdctl run` brings what it lacks. */
const nerdctlRun = (reference: Client['reference'], plugin = 'ipfs'): Client => ({
  name: plugin === 'ipfs' ? 'nerdctl run' : `nerdctl run, plugin ${plugin}`,
  reference,
  needs: 'nerdctl',
  isLazy: always,
  plugin,
  pull: async () => {},
  run: async (node, name, _, ...words) => await nerdctl(node, 'run', '--rm', '--net', 'none', name, ...words)
})
const criPod = (reference: Client['reference']): Client => ({
  name: 'CRI: image pull, pod run',
  reference,
  needs: 'go',
  isLazy: always,
  hasCri: true,
  pull: async ({ scene }, name, { programs }) => await programs.run('containerd-2.4/cri', scene.containerd.address, 'pull', name),
  run: async ({ scene }, name, { programs }, ...words) => await programs.run('containerd-2.4/cri', scene.containerd.address, 'run', name, ...words)
})

export const CLIENTS: readonly Client[] = [
  {
    name: 'ipfs-snapshotter pull',
    reference: 'ipfs:0/CID',
    isLazy: always,
    pull: async ({ scene }, name, { published }) => await scene.pull(published.reference, '--name', name)
  },
  { name: 'ctr images pull', isLazy: modern, ...ctr('ipfs:0/CID') },
  { name: 'ctr images pull', isLazy: modern, ...ctr('GATEWAY/ipfs/CID') },
  { name: 'ctr images pull', isLazy: modern, ...ctr('localhost:PORT/ipfs/CID') },
  { name: 'ctr images pull, max_concurrent_unpacks = 3', isFor: modern, isLazy: always, unpacking: 'limited', ...ctr('ipfs:0/CID') },
  { name: 'ctr images pull --local', isFor: modern, isLazy: never, ...ctr('ipfs:0/CID', '--local') },
  criPod('ipfs:0/CID'),
  criPod('localhost:PORT/ipfs/CID'),
  nerdctlRun('ipfs://CID'),
  nerdctlRun('ipfs:0/CID'),
  nerdctlRun('localhost:PORT/ipfs/CID'),
  nerdctlRun('ipfs://CID', 'stargz'),
  nerdctlRun('localhost:PORT/ipfs/CID', 'stargz'),
  { name: 'Go, client 1.7', isLazy: always, ...go('containerd-1.7/pull') },
  { name: 'Go, client 2.4', isLazy: always, ...go('containerd-2.4/pull') },
  { name: 'Go, client 2.4, labels of CRI', isLazy: always, ...go('containerd-2.4/pull', 'cri') },
  { name: 'Go, client 2.4, plugin stargz', isLazy: always, plugin: 'stargz', ...go('containerd-2.4/pull') },
  { name: 'Go, client 2.4, plugin stargz, its labels', isLazy: always, plugin: 'stargz', ...go('containerd-2.4/pull', 'stargz') },
  { name: 'Go, client 2.4, plugin some.name', isLazy: always, plugin: 'some.name', ...go('containerd-2.4/pull') },
  { name: 'Go, client 2.4, WithUnpackLimiter', isLazy: always, ...go('containerd-2.4/pull', 'parallel') },
  { name: 'Go, client 2.4, WithUnpackFetchAllContent', isLazy: never, ...go('containerd-2.4/pull', 'fetch-all') },
  { name: 'Go, client 2.4, WithUnpackFetchAllContent, our content store', isLazy: always, hasOurContent: true, ...go('containerd-2.4/pull', 'fetch-all') }
]
