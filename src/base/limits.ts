// Every bound in the program, with its reason. A literal bound anywhere else is a defect. Bytes unless named.

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

// Disks
export const DISK_BLOCK_BYTES = 4_096 // what a file takes is a multiple of this

// IPFS
export const BLOCK_BYTES_MAX = 2 * MiB // trustless gateway spec: clients need not accept larger blocks
export const IDENTITY_BYTES_MAX = 128 // Kubo's verifcid limit for identity digests
export const CAR_SECTION_BYTES_MAX = BLOCK_BYTES_MAX + 256 // a block plus its CID
export const CAR_HEADER_BYTES_MAX = 64 * KiB // a header names few roots; guards the decoder
export const CAR_BLOCKS_MAX = 8_388_608 // sections of all CAR files of one store: 8 TiB in 1 MiB blocks, 400 MB of index
export const CAR_FILES_MAX = 1_024 // CAR files of one store; each holds a file descriptor
export const DAG_DEPTH_MAX = 32 // a balanced 1024-ary file of 1 EiB needs 6; trickle trees are deeper
export const DAG_LINKS_MAX = 16_384 // links of one dag-pb node that fits a block
export const DIRECTORY_ENTRIES_MAX = 65_536 // an OCI layout has a few dozen
export const DIRECTORY_SHARDS_MAX = 8_192 // nodes of one sharded directory; they hold tens of entries each
export const RANGE_BLOCKS_MAX = 32_768 // blocks of one range request: 8 MiB in 256-byte leaves; guards memory
export const NODE_CACHE_BYTES = 24 * MiB // dag-pb nodes with links, in memory: the DAG of 400 GiB in 1 MiB leaves
export const LEAF_CACHE_BYTES = 32 * MiB // leaves that two reads share, in memory
export const FILE_READ_BYTES_MAX = 64 * MiB // one read() into memory; longer ranges are streamed
export const STREAM_WINDOWS = 3 // ranges of RANGE_BYTES_MAX that a stream holds or fetches

// Blocks that were given to this node
export const STORE_BYTES_MAX = 20 * GiB // default of [store] max_size: the largest image
export const STORE_LOOSE_MS = 3_600_000 // a block that no pin holds is not removed before: who puts blocks one by one pins them last
export const UPLOAD_BYTES_MAX = 20 * GiB // of one request: the largest image as one CAR
export const UPLOAD_BLOCKS_MAX = 262_144 // the same in Kubo's default of 256 KiB is a third of it; their names are in memory, 40 MB
export const UPLOADS_AT_ONCE = 16 // each holds a few blocks; a client sends the layers of an image one after the other
export const UPLOAD_SYNCS_AT_ONCE = 2 // of the four threads that all reads of files share
export const UPLOAD_STALL_MS = 60_000 // a client that sends no byte for this long is cut off
export const UPLOAD_LINGER_MS = 2_000 // what a refused client still sends is thrown away for this long: it hears why before it is cut off
export const UPLOAD_NAMES_MAX = 65_536 // files and folders of one request; as DIRECTORY_ENTRIES_MAX
export const PINS_MAX = 65_536 // an image that nerdctl pushes has a dozen
export const MULTIPART_HEAD_BYTES_MAX = 16 * KiB // headers of one part: a name and a type
export const CHUNKER_BYTES_MAX = 2 * MiB - 256 // Kubo's largest for size-N
export const FILE_LEAF_BYTES = 256 * KiB // of a file that is added, in Kubo's default
export const FILE_LINKS = 174 // of a node of such a file

// OCI
export const REFERENCE_CHARACTERS_MAX = 1_024 // the longest sensible one, host and digest included, has about 400
export const MANIFEST_BYTES_MAX = 4 * MiB // registries refuse more; guards JSON.parse
export const CONFIG_BYTES_MAX = 4 * MiB // as manifests
export const LAYERS_MAX = 127 // overlayfs and docker stop here
export const INDEX_MANIFESTS_MAX = 1_024 // descriptors in one index
export const JSON_DEPTH_MAX = 64 // no OCI document nests deeper than a dozen
export const JSON_VALUES_MAX = 16_000_000 // a TOC of 1,000,000 entries with 16 fields each
export const NESTED_INDEXES_MAX = 16 // indexes in an index, and manifests whose platform only their config tells
export const ROOT_PEEK_BYTES = 64 * KiB // of a root that is no document, to say what it is
export const LAYER_BYTES_MAX = 10 * GiB // one compressed layer
export const IMAGE_BYTES_MAX = 20 * GiB // all compressed layers
export const ROOT_BYTES_MAX = 10 * IMAGE_BYTES_MAX // files that verify reads beside the image's layers: its other platforms

// Layers
export const LAYER_UNPACKED_BYTES_MAX = 64 * GiB // gzip bombs end here
export const INFLATE_RATIO_MAX = 1_100 // deflate cannot exceed 1032:1
export const TOC_BYTES_MAX = 128 * MiB // about 500,000 entries
export const LAYER_ENTRIES_MAX = 1_000_000 // inodes and names of one layer
export const LAYER_METADATA_BYTES_MAX = 256 * MiB // of one layer's paths, link targets and xattrs: a tar's compress 1000 to 1
export const CHUNK_BYTES_MAX = 16 * MiB // one chunk is held in memory while it is checked
export const CHUNK_BYTES_PLAIN = 256 * KiB // our own chunks of plain layers: 4 leaves each
export const LEAF_BYTES = 64 * KiB // unit of the check on every read from disk, at most (design §1.4); the worker's is half of it
export const PATH_BYTES_MAX = 4_096 // PATH_MAX
export const NAME_BYTES_MAX = 255 // NAME_MAX; EROFS and ext4 alike
export const LINK_TARGET_BYTES_MAX = 4_095 // one page less NUL
export const XATTR_VALUE_BYTES_MAX = 65_535 // EROFS e_value_size
export const XATTR_BYTES_PER_INODE_MAX = 262_144 // EROFS body limit 262,148
export const PAX_BYTES_MAX = 1 * MiB // one extended header; guards memory
export const PATH_DEPTH_MAX = 256 // directories above one entry
export const XATTR_NAME_BYTES_MAX = 255 // XATTR_NAME_MAX
export const LAYER_CHUNKS_MAX = 2_000_000 // one per file and one per 256 KiB of 64 GiB; 80 bytes each in the data plane
export const LINKS_FOLLOWED_MAX = 255 // symbolic links on the way to one entry, as containerd's applier
export const IMPLIED_STEPS_MAX = 32_000_000 // to find what one layer's unnamed directories are below: a few seconds
export const PARENTS_REMEMBERED_MAX = 65_536 // directories of one layer that are found by their text while it is read
export const GZIP_HEADER_BYTES_MAX = 128 * KiB // an extra field has at most 64 KiB; names and comments are short
export const TOC_TAIL_BYTES = 512 * KiB // first read of an eStargz blob, at least: footer and, for most layers, all of the TOC
export const MEMBER_BYTES_MAX = 20 * MiB // one gzip member travels to the data plane in one frame of 24 MiB
export const MEMBER_INNER_BYTES_MAX = 64 * MiB // inflated and thrown away before a chunk; more makes every miss slow

// Network
export const GATEWAY_TIMEOUT_MS = 10_000 // default patience for one request's headers and for each pause in its body
export const RESOLVE_DEADLINE_MS = 120_000 // whole resolve of one image
export const RETRY_AFTER_MS_MAX = 30_000 // longer waits fail over to the next source
export const REDIRECTS_MAX = 3 // gateways redirect to subdomains once
export const FETCH_CONCURRENCY = 8 // requests in flight for one file read
export const RANGE_BYTES_MAX = 8 * MiB // one entity-bytes request
export const SUPPLY_RETRY_MS_FIRST = 250 // a miss whose sources failed is tried again after this, then twice as long
export const SUPPLY_RETRY_MS_MAX = 5_000 // a source that returns is noticed within this
export const SUPPLY_ALIGNMENT = 1 * MiB // a leaf of unixfs-v1-2025: fetched whole in any case, so used whole
export const SUPPLY_ALIGNMENT_MIN = 128 * KiB // a file in smaller leaves is fetched as if it had such: a request costs more than the bytes
export const SUPPLY_LATER_AT_ONCE = 32 // chunks that nobody waits for between two looks at who reads: a millisecond
export const SUPPLY_LATER_BYTES = 2 * MiB // of leaves that are held for such chunks while their stream goes on
export const READ_AHEAD_FILE_BYTES = 6 * MiB // compressed: a file that is not larger is fetched whole when one of its chunks is missed
export const SCATTER_FILE_BYTES = 64 * KiB // compressed: of a larger file it is known what is read next
export const SCATTER_UNIT_BYTES = 256 * KiB // a leaf of ours: what one miss brings
export const SCATTER_PLACES = 16 // equal parts of a layer
export const SCATTER_PLACES_MIN = 12 // of them with misses: a program that keeps to its folders meets fewer
export const SCATTER_MISSES_MIN = 16 // round trips that are cheap beside a container's start
export const SCATTER_SHARE = 1 / 16 // of the layer that was missed bit by bit: the rest goes over the line in the time of about as many misses
export const READ_AHEAD_BYTES_MAX = 32 * MiB // ahead of a large file that is read in order: a second at 256 Mbit/s
export const READ_AHEAD_REQUESTS = 2 // at once for one miss: the line stays busy, and reads of other files keep most of it
export const ERROR_BODY_BYTES_MAX = 4 * KiB // of a failed response, for the message
export const CAR_OVERHEAD_BYTES_MAX = 8 * MiB // of one CAR answer beyond the bytes asked for: path nodes, cut leaves; ends endless bodies
export const GATEWAY_BYTES_PER_SECOND_MIN = 4 * KiB // slower bodies are given up: a 2 MiB block would take 9 minutes
export const GATEWAY_DRAIN_MS_MAX = 500 // wait for the end of a body that already gave all we want, to keep its connection
export const SOURCE_CONCURRENCY = 16 // requests in flight at one source
export const SOURCE_BACKGROUND_CONCURRENCY = 2 // of those, background ones: one transfers while the next one is asked for
export const BACKGROUND_RANGE_BYTES = 1 * MiB // of one background request: what a read that comes meanwhile may wait behind
export const BACKGROUND_QUIET_MS = 100 // after the last read before background requests go on: the next read follows from its bytes
export const BACKGROUND_STARVED_MS = 2_000 // a background request that waited so long goes out all the same: 5 % of 10 MB/s
export const H2_STREAM_WINDOW_BYTES = 8 * MiB // one HTTP/2 answer on its way: 80 ms at 100 MB/s
export const H2_CONNECTION_WINDOW_BYTES = 16 * MiB // all answers of one connection
export const GATHER_MS = 2 // readers of one file who ask within this of each other share requests
export const RANGE_GAP_BYTES = 256 * KiB // bytes sent twice cost less than another request
export const HEDGE_MS_FIRST = 1_000 // silence before the next source is asked, of a source that was never heard of
export const HEDGE_MS_MIN = 50 // and of a very fast one: below it the scheduler is what was slow
export const HEDGE_MS_MAX = 3_000 // and of a very slow one
export const HEDGE_SHARE = 0.1 // extra requests per request
export const HEDGE_BURST = 10 // extra requests at once
export const SOURCE_BEATEN_MS = 5_000 // a source that was silent while another delivered goes after the others; twice as long each time
export const SOURCE_PENALTY_MS = 30_000 // a source that timed out or lied is asked after the others for this long
export const SOURCE_REST_MS_MAX = 3_600_000 // a rate-limiting answer silences its source no longer than this
export const FETCH_ROUNDS_MAX = 3 // rounds over all sources that bring nothing new before a fetch fails
export const FETCH_BACKOFF_MS = 250 // before the next round after transient failures

// Servers
export const GRPC_MESSAGE_BYTES_MAX = 16 * MiB // containerd's own limit (defaults.DefaultMaxRecvMsgSize)
export const CONTROL_CALL_DEADLINE_MS = 60_000 // status, exit: twice what the data plane may take to answer the daemon
export const REGISTRY_BOOKING_MS = 60_000 // a client that read a manifest prepares its layers within this
export const REGISTRY_IMAGES_MAX = 256 // whose digests are remembered: a pull of gigabytes outlives its booking
export const REGISTRY_OTHERS_MAX = 64 // manifests of other platforms that clients find in an index; builders list a dozen, twice with attestations
export const KUBO_PATH_CHARS_MAX = 4 * KiB // of a CID and names below it, or of sixty CIDs
export const KUBO_DESCRIPTOR_BYTES_MAX = 64 * KiB // a JSON descriptor that is an image's root; longer files are files
export const KUBO_OFFSET_MAX = Number.MAX_SAFE_INTEGER // of a byte in a file
export const HTTP_REQUEST_MS_MAX = 10_000 // of one request for metrics or health to arrive
export const HTTP_PROBE_MS_MAX = 5_000 // the data plane's answer to a health check; monitoring asks every few seconds
export const RECENT_ERRORS_MAX = 50 // warnings and errors that `status` shows: what one person reads; the log has all
export const RECENT_ERROR_CHARACTERS_MAX = 4 * KiB // of one, for it may quote a publisher or a gateway
export const STOPPED_CONTAINERS_MAX = 50 // containers stopped by policy that `status` shows, as many as errors
export const LOCK_PATIENCE_MS = 1_000 // for a daemon that is about to end
export const START_STOP_MS = 1_000 // SIGTERM while starting: what is under way may end by itself for this long
export const CONTROL_BODY_BYTES_MAX = 64 * KiB // a pull request names a reference and a few options
export const CONTROL_LINE_CHARS_MAX = 16 * MiB // one line of an answer: `status --debug` lists what a thousand mounts wait for
export const LAYER_THREADS = 1 // layers whose TOC is parsed at once; a warm one keeps 70 to 100 MiB
export const LAYER_THREAD_HEAP_MIB = 2_048 // of one thread: a TOC of LAYER_ENTRIES_MAX entries and its tree
export const LAYER_THREAD_YOUNG_MIB = 16 // of it, for new objects: more is kept and makes nothing faster
export const LAYER_THREAD_IDLE_BYTES_MAX = 128 * MiB // of heap: a thread that idles with more is replaced; one of 24,000 entries keeps 100
export const LAYER_THREAD_IDLE_MS = 5_000 // before it is: the image of a layer follows its index, and the next layer of a pull that one
export const LAYER_WARM_ROUNDS = 12 // of 2,000 entries: more makes a thread no faster
export const PLAIN_PASSES_MAX = 4 // plain layers that are read whole at once: each holds 24 MiB of leaves, and an image has up to 127
export const DIGEST_RING_BYTES = 1 * MiB // of one stream on its way to the thread that hashes; a power of two, for its counters wrap
export const DIGEST_THREAD_BYTES = 4 * MiB // shorter streams are hashed where they are: the thread takes 30 ms to start
export const LAYER_RECORD_BYTES_MAX = 512 * MiB // a sealed index of LAYER_ENTRIES_MAX entries with long names; guards the read
export const UNPACK_BYTES_MIN = 4 * MiB // compressed: a smaller layer is unpacked here before a process has started
export const UNPACK_READ_BYTES = 32 * KiB // of the tar that comes here at once: some headers and small files, half of it in vain before a large file
export const UNPACK_TAKE_BYTES_MIN = 64 * KiB // of a file beyond what came: fewer cost less here than the order
export const UNPACK_TAKE_BYTES = 4 * MiB // of one order, in whole chunks: limits are checked in between
export const DATA_WRITE_BYTES = 1 * MiB // one write of the pass over a plain layer
export const IMAGES_REMEMBERED_MAX = 10_000 // chain IDs of resolved images, about 1 KB each: their indexes stay with whoever mounted them
export const OPEN_DEADLINE_MS = 600_000 // a plain 10 GiB layer is read whole
export const EARLY_LEAF_BYTES = 24 * MiB // of leaves asked for before their TOC is parsed: they wait in LEAF_CACHE_BYTES
export const PULL_PROGRESS_MS = 250 // between two looks at what a pull's sources sent: what an eye can follow
export const PREPARE_WAIT_MS = 60_000 // Prepare runs under a containerd lock
export const LIST_BATCH = 100 // infos of one List message, as containerd's own service
export const LABEL_BYTES_MAX = 4_096 // containerd's limit for key + value
export const GATEWAY_REQUESTS_MAX = 256 // at once; each holds about two blocks; beyond it the gateway answers 429
export const GATEWAY_STALL_MS = 60_000 // a client that takes no byte for this long is cut off
export const GATEWAY_DEPTH_MAX = 256 // blocks between a DAG's root and its leaves; a request holds one node of each
export const READ_DEADLINE_MS = 30_000 // default of [read] deadline

// EROFS
export const DATA_DEVICE_BYTES_MAX = 8 * 1024 * GiB // file sizes with holes; EROFS addresses 16 TiB in 32-bit blocks, metadata included
export const EROFS_METADATA_BYTES_MAX = 512 * MiB // kept in RAM (ramfs); 1,000,000 entries need about 100 MiB

// Snapshots
export const SNAPSHOT_KEY_BYTES_MAX = 4_096 // keys are paths at most; containerd's own stay below 300
export const SNAPSHOTTER_NAMES_MAX = 16 // plugin names that share one daemon; each has a database
export const LABELS_MAX = 1_024 // of one snapshot; containerd's clients send a dozen
export const ID_MAPPINGS_MAX = 340 // lines of a uid_map, user_namespaces(7)
export const FILTERS_MAX = 64 // of one List
export const FILTER_BYTES_MAX = 8 * KiB // of one filter: a label and a key fit
export const FILTER_PATTERN_CHARS_MAX = 512 // of one ~= pattern
export const FILTER_PATTERN_REPEATS_MAX = 3 // unbounded repeats: matching costs length to this power
export const LAZY_PREPARE_DEADLINE_MS = 60_000 // containerd holds a lock during Prepare (design §2)
export const LAZY_RESTORE_DEADLINE_MS = 60_000 // of one layer, at start and again when it is asked for
export const LAZY_RESTORE_CONCURRENCY = 8 // layers that are mounted at once after a restart
export const LAZY_AHEAD_CONCURRENCY = 4 // layers that are mounted at once before they are asked for
export const DISK_USAGE_CONCURRENCY = 16 // directories read at once

// Talking to containerd
export const CONTAINERD_CALL_DEADLINE_MS = 60_000 // one unary call; a sync deletion waits for a whole collection
export const CONTAINERD_PREPARE_DEADLINE_MS = 120_000 // Prepare may wait for the resolver behind it
export const CONTAINERD_RETRY_MS = 150 // between tries while another client holds an ingest
export const CONTAINERD_REDIAL_MS = 5_000 // containerd backs off up to 3 s before it dials a proxy plugin again
export const CONTAINERD_WRITE_PATIENCE_MS = 60_000 // all tries at one blob
export const CONTENT_PIECE_BYTES = 1 * MiB // one WRITE message, one answer to Read; what of a blob is hashed at once
export const CONTENT_REF_BYTES_MAX = 4 * KiB // of an ingest: namespace, number, kind and digest fit many times
export const PROMISES_MAX = 100_000 // blobs of resolved images that answer without being here: those of thousands of images
export const RESOLVED_IMAGES_MAX = 1_000 // images of these that `status` can name: a node has tens
export const RECENT_PIECES_BYTES_MAX = 8 * MiB // of pieces that were read in part: a reader goes on in its own, and eight can at once
export const PIECE_TABLES_BYTES_MAX = 32 * MiB // hashes of blobs that are read; those of a terabyte
export const LEASE_LIFETIME_MS = 24 * 3_600_000 // as containerd's own clients; nothing renews a lease
export const GRPC_STOP_GRACE_MS = 2_000 // calls in flight at SIGTERM

// Publishing
export const PUBLISH_ARCHIVE_BYTES_MAX = 2 * LAYER_UNPACKED_BYTES_MAX // of a gzipped archive, on disk: the largest image with its layers unpacked
export const PUBLISH_READ_BYTES = 256 * KiB // one read of an archive or a layer
export const PUBLISH_WINDOW_BYTES = 16 * KiB // one read of tar headers: a run of them, or one and its small file
export const PUBLISH_CHUNK_BYTES = 256 * KiB // of our eStargz: see publish/estargz-members.ts
export const PUBLISH_CHUNK_BYTES_MIN = 4 * KiB // smaller chunks than a page make the TOC larger than the data
export const PUBLISH_HEADER_RUN_BYTES = 4 * MiB // tar headers between two contents, in one gzip member
export const PUBLISH_GZIP_HERE_BYTES = 8 * KiB // members that are not worth a trip to a thread
export const PUBLISH_WRITE_BYTES = 1 * MiB // gathered before a write
export const PUBLISH_WRITE_PIECES = 512 // the same in pieces: the kernel takes 1024 in one call
export const PUBLISH_BYTES_IN_FLIGHT = 16 * MiB // the same in bytes
export const PUBLISH_PREFETCH_LIST_BYTES_MAX = 16 * MiB // paths, one a line
export const OPENS_RECORDED_MAX = 200_000 // files that one profiled run opens: their list stays within PUBLISH_PREFETCH_LIST_BYTES_MAX
export const UNIXFS_CHUNK_BYTES = 1 * MiB // profile unixfs-v1-2025 (IPIP-499)
export const UNIXFS_LINKS = 1_024 // the same
export const UNIXFS_DIRECTORY_BYTES = 256 * KiB // the same: a larger directory block becomes a HAMT
export const OUTSIDE_LEAVES = 16 // of each layer that a look from outside asks for: a gateway without a fifth of them is found out 97 times of 100
export const OUTSIDE_FAILURES_MAX = 8 // in one round of such a look: enough to know that a gateway is not ready, and not to burden it
export const OUTSIDE_PAUSE_MS_FIRST = 1_000 // before the next round; then twice as long
export const OUTSIDE_PAUSE_MS_MAX = 30_000 // blocks that arrive are noticed within this
export const OUTSIDE_DEADLINE_MS = 600_000 // default of --verify-timeout: a pin of gigabytes, and its announcement

// Bringing blocks out
export const TOKEN_FILE_BYTES_MAX = 16 * KiB // signed tokens have a few; guards against the wrong file
export const PUSH_ATTEMPTS_MAX = 4 // whole uploads of one CAR: a line that breaks four times on the way does not carry this size
export const PUSH_RETRY_MS_FIRST = 1_000 // before the second one, then twice as long: a server that restarts is back within seconds
export const PUSH_STALL_MS = 60_000 // a target that takes no byte for this long is given up; a Kubo writes 100 MiB in between
export const PUSH_ANSWER_MS = 900_000 // after the last byte: a Kubo walks the whole DAG before it says that a root is pinned
export const PUSH_READ_BYTES = 256 * KiB // one read of the CAR
export const RPC_CALL_MS = 30_000 // one small call of an RPC or a pinning service; dialing a peer takes up to 15 s
export const RPC_ANSWER_BYTES_MAX = 4 * MiB // a page of PIN_PAGE pins with their addresses
export const PIN_DEADLINE_MS = 1_800_000 // default of --pin-timeout: the largest image at 100 Mbit/s
export const PIN_POLL_MS_FIRST = 500 // as Kubo; then twice as long
export const PIN_POLL_MS_MAX = 10_000 // services allow some tens of requests a minute
export const PIN_CIDS_MAX = 10 // of one question to the Pinning Service API
export const PIN_PAGE = 1_000 // the largest page of the Pinning Service API
export const PIN_ADDRESSES_MAX = 20 // origins and delegates of one pin, in that API
export const PIN_NAME_CHARS_MAX = 255 // in that API
export const PINS_LISTED_MAX = 65_536 // of one service; as PINS_MAX

// The native program and its data plane
export const NATIVE_BUILD_DEADLINE_MS = 300_000 // g++ of a dozen files on one slow core
export const NATIVE_JOB_DEADLINE_MS = 30_000 // a mount job; longer than the guardian gives its own unmounting
export const NATIVE_ANSWER_GRACE_MS = 1_000 // for the server of mount jobs to say that one did not end
export const NATIVE_SYNC_DEADLINE_MS = 300_000 // dirty pages of a whole filesystem: 10 GiB of a layer at 40 MiB a second
export const NATIVE_OUTPUT_BYTES_MAX = 1 * MiB // a job prints one line
export const FRAME_BYTES_MAX = 24 * MiB // docs/PROTOCOL.md; the worker closes connections that announce more
export const TABLE_PART_BYTES = 8 * MiB // of one ADD_PART: keeps both ends' buffers small
export const SUPPLY_BYTES_IN_FLIGHT = 32 * MiB // supplied and not yet acknowledged: kept to be sent again to a new worker
export const DATA_PLANE_DEADLINE_MS = 30_000 // of one request to the worker, reconnecting included
export const DATA_PLANE_RECONNECT_MS = 20 // a worker is replaced within about as much
export const TABLE_CHUNKS_MAX = 6_710_000 // 80 bytes each in the 512 MiB that the worker takes as a table
export const GUARDIAN_PAUSE_MS_FIRST = 1_000 // between tries to start one anew; then twice as long
export const GUARDIAN_PAUSE_MS_MAX = 60_000 // a machine that recovers is used within this
export const REMOUNT_TRIES = 5 // of one layer after a guardian was replaced
export const REMOUNT_PAUSE_MS = 500 // a dead mount may be busy for a moment

// The driver fuse
export const FUSE_CACHE_SECONDS = 31_536_000 // names and attributes of a layer never change
export const FUSE_BACKGROUND_MAX = 16 // reads of one mount that the kernel sends at once; each keeps a thread of libfuse
export const TREE_SERVER_THREADS = 128 // reads of all mounts that wait at once, eight mounts' full share
export const TREE_SERVER_START_MS = 60_000 // Node starts in 0.3 s, and in 20 s on an emulated processor
export const TREE_SERVER_CALL_MS = 30_000 // one mount: a tree of a million entries is decoded first
export const TREE_SERVER_DIAL_MS = 25 // between tries while it starts or ends
export const TREE_REQUEST_CHARS_MAX = 65_536 // one line of JSON with three paths
export const TREE_ANSWER_CHARS_MAX = 16 * MiB // the paths of all trees that one server shows
export const TREE_SERVER_TICK_MS = 2_000 // how soon it sees that others unmounted a tree of it
export const TREE_SERVER_IDLE_TICKS = 5 // after so many without a mount it ends

// Proof of layers, policy, cache
export const BACKGROUND_BYTES_PER_SECOND = 16 * MiB // default of [fetch] background_rate: as the proof
export const BACKGROUND_WINDOW_BYTES = 4 * MiB // one background request: few for a gateway's budget, and a read waits behind no more
export const PACE_BEAT_MS = 250 // a fetch that reads wait for says this often that it still goes on
export const BACKGROUND_LOOK_MS = 2_000 // how soon a proven layer is looked at for what it lacks
export const PROOF_START_MS_MAX = 60_000 // a workload that never stops reading does not put the proof of its layers off
export const PROOF_YIELD_MS = 2_000 // pause of the proof per piece of at most a block, while reads wait for the network
export const PROOF_RETRY_MS_FIRST = 10_000 // after sources failed; then twice as long
export const PROOF_RETRY_MS_MAX = 600_000 // a source that returns is used within this
export const PROOF_AFTER_MS = 2_000 // default of [trust] prove_after
export const PROOF_BYTES_PER_SECOND = 16 * MiB // default of [trust] prove_rate: a tenth of a core for hashing and inflating
export const PROOF_HERE_ENTRIES_MAX = 10_000 // of a layer that is proven without a thread of its own, which takes 100 ms to start: 12 MB of trees
export const PROOF_WAIT_MS = 45_000 // a claim to somebody else's chain ID waits for his proof; within PREPARE_WAIT_MS
export const HOLDER_LOOK_MS = 1_000 // the record of a layer of a million entries is read within it
export const STOP_ROUNDS_MS: readonly number[] = [0, 500, 2_000] // a container that was being started is found by a later look
export const STOP_DEADLINE_MS = 5_000 // a failed read waits for the end of its container no longer than this
export const CACHE_EVICT_SHARE = 0.02 // of the quota, freed at once: an eviction looks at every chunk
export const CACHE_EVICTIONS_PER_CALL = 4_096 // chunks in one frame: the worker has other things to do
export const CACHE_LOOK_MS = 10_000 // between looks at the disk when nothing is supplied
export const CACHE_YOUNG_MS = 120_000 // data of a layer that is not served may be about to be
export const HAND_OVER_DEADLINE_MS = 300_000 // of a layer's removal: what others need of it moves first, 10 GiB at 35 MiB/s
