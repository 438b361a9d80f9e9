// Every target by name. Each is imported when it is fuzzed, so that coverage is of what it needs and looks at it stay cheap.
import type { MakeTarget } from './target.ts'

const bait = async () => await import('./targets/bait.ts')
const dag = async () => await import('./targets/dag.ts')
const documents = async () => await import('./targets/documents.ts')
const ipfs = async () => await import('./targets/ipfs.ts')
const layer = async () => await import('./targets/layer.ts')
const uploads = async () => await import('./targets/uploads.ts')
const wire = async () => await import('./targets/wire.ts')

export const TARGETS: Readonly<Record<string, MakeTarget | undefined>> = {
  'car-stream': async () => (await ipfs()).makeCarStream(),
  'car-file': async () => (await ipfs()).makeCarFile(),
  'dag-pb': async () => (await ipfs()).makeDagPb(),
  unixfs: async () => (await ipfs()).makeUnixfs(),
  directory: async () => (await dag()).makeDirectory(),
  'file-dag': async () => (await dag()).makeFileDag(),
  toc: async () => (await layer()).makeToc(),
  'toc-line': async () => (await layer()).makeTocLine(),
  footer: async () => (await layer()).makeFooter(),
  estargz: async () => (await layer()).makeEstargz(),
  gzip: async () => (await layer()).makeGzip(),
  tar: async () => (await layer()).makeTar(),
  'plain-layer': async () => (await layer()).makePlainLayer(),
  'index-record': async () => (await layer()).makeIndexRecord(),
  'strict-json': async () => (await documents()).makeStrictJson(),
  'oci-documents': async () => (await documents()).makeOciDocuments(),
  reference: async () => (await documents()).makeReference(),
  config: async () => (await documents()).makeConfig(),
  filters: async () => (await documents()).makeFilters(),
  'gateway-request': async () => (await documents()).makeGatewayRequest(),
  'gateway-node': async () => (await ipfs()).makeGatewayNode(),
  multipart: async () => (await uploads()).makeMultipart(),
  grpc: async () => await (await wire()).makeGrpc(),
  'control-server': async () => await (await wire()).makeControlServer(),
  'control-client': async () => await (await wire()).makeControlClient(),
  'worker-frames': async () => (await wire()).makeWorkerFrames(),
  'worker-socket': async () => await (await wire()).makeWorkerSocket(),
  'tree-client': async () => await (await wire()).makeTreeClient(),
  bait: async () => (await bait()).makeBait(),
  'bait-loop': async () => (await bait()).makeLoopBait(),
  'bait-heap': async () => (await bait()).makeHeapBait()
}
