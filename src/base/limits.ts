// Every bound in the program, with its reason. A literal bound anywhere else is a defect. Bytes unless named.

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

// IPFS
export const BLOCK_BYTES_MAX = 2 * MiB // trustless gateway spec: clients need not accept larger blocks
export const IDENTITY_BYTES_MAX = 128 // Kubo's verifcid limit for identity digests
export const CAR_SECTION_BYTES_MAX = BLOCK_BYTES_MAX + 256 // a block plus its CID
export const CAR_HEADER_BYTES_MAX = 64 * KiB // a header names few roots; guards the decoder
export const DAG_DEPTH_MAX = 32 // a balanced 1024-ary file of 1 EiB needs 6; trickle trees are deeper
export const DAG_LINKS_MAX = 16_384 // links of one dag-pb node that fits a block
export const DIRECTORY_ENTRIES_MAX = 65_536 // an OCI layout has a few dozen
export const FILE_LEAVES_MAX = 4_194_304 // 16 GiB in 4 KiB leaves

// OCI
export const MANIFEST_BYTES_MAX = 4 * MiB // registries refuse more; guards JSON.parse
export const CONFIG_BYTES_MAX = 4 * MiB // as manifests
export const LAYERS_MAX = 127 // overlayfs and docker stop here
export const INDEX_MANIFESTS_MAX = 1_024 // descriptors in one index
export const JSON_DEPTH_MAX = 64 // no OCI document nests deeper than a dozen
export const LAYER_BYTES_MAX = 10 * GiB // one compressed layer
export const IMAGE_BYTES_MAX = 20 * GiB // all compressed layers

// Layers
export const LAYER_UNPACKED_BYTES_MAX = 64 * GiB // gzip bombs end here
export const INFLATE_RATIO_MAX = 1_100 // deflate cannot exceed 1032:1
export const TOC_BYTES_MAX = 128 * MiB // about 500,000 entries
export const LAYER_ENTRIES_MAX = 1_000_000 // inodes and names of one layer
export const CHUNK_BYTES_MAX = 16 * MiB // one chunk is held in memory while it is checked
export const CHUNK_BYTES_PLAIN = 256 * KiB // our own chunks of plain layers: 4 leaves each
export const LEAF_BYTES = 64 * KiB // unit of the check on every read from disk (design §1.4)
export const PATH_BYTES_MAX = 4_096 // PATH_MAX
export const NAME_BYTES_MAX = 255 // NAME_MAX; EROFS and ext4 alike
export const LINK_TARGET_BYTES_MAX = 4_095 // one page less NUL
export const XATTR_VALUE_BYTES_MAX = 65_535 // EROFS e_value_size
export const XATTR_BYTES_PER_INODE_MAX = 262_144 // EROFS body limit 262,148
export const PAX_BYTES_MAX = 1 * MiB // one extended header; guards memory
export const PATH_DEPTH_MAX = 256 // directories above one entry

// Network
export const GATEWAY_TIMEOUT_MS = 10_000 // default patience for one request's headers and for each pause in its body
export const RESOLVE_DEADLINE_MS = 120_000 // whole resolve of one image
export const RETRY_AFTER_MS_MAX = 30_000 // longer waits fail over to the next source
export const REDIRECTS_MAX = 3 // gateways redirect to subdomains once
export const FETCH_CONCURRENCY = 8 // requests in flight for one file read
export const RANGE_BYTES_MAX = 8 * MiB // one entity-bytes request
export const ERROR_BODY_BYTES_MAX = 4 * KiB // of a failed response, for the message

// Servers
export const GRPC_MESSAGE_BYTES_MAX = 16 * MiB // containerd's own limit (defaults.DefaultMaxRecvMsgSize)
export const LIST_BATCH = 100 // infos of one List message, as containerd's own service
export const LABEL_BYTES_MAX = 4_096 // containerd's limit for key + value
export const READ_DEADLINE_MS = 30_000 // default of [read] deadline
