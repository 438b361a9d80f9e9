// Descriptor annotations that we read or write. Those under `containerd.io/snapshot/` survive every client: containerd's
// unpacker copies them verbatim to the labels of Prepare (contracts notes §2.3).

/** CID of the UnixFS file (or raw block) that holds the descriptor's blob. */
export const ANNOTATION_CID = 'containerd.io/snapshot/ipfs-snapshotter/cid'
/** sha256 of an eStargz layer's uncompressed TOC (stargz-snapshotter, estargz/types.go). */
export const ANNOTATION_TOC_DIGEST = 'containerd.io/snapshot/stargz/toc.digest'
/** Bytes of an eStargz layer's tar. */
export const ANNOTATION_UNCOMPRESSED_SIZE = 'io.containers.estargz.uncompressed-size'
/** A tag, on an entry of a layout's index.json (image-spec annotations.md). */
export const ANNOTATION_REF_NAME = 'org.opencontainers.image.ref.name'
