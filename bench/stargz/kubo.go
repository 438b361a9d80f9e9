// Layers named by ipfs:// in their descriptors, read from a Kubo daemon's RPC as the peer's daemon does with `ipfs = true`.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/containerd/stargz-snapshotter/fs/remote"
	"github.com/containerd/stargz-snapshotter/ipfs"
	"github.com/containerd/stargz-snapshotter/ipfs/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

type kubo struct{}

// Handle finds the daemon by $IPFS_PATH/api.
func (kubo) Handle(_ context.Context, layer ocispec.Descriptor) (remote.Fetcher, int64, error) {
	cid, err := ipfs.GetCID(layer)
	if err != nil {
		return nil, 0, err
	}
	address, err := client.GetIPFSAPIAddress(os.Getenv("IPFS_PATH"), "http")
	if err != nil {
		return nil, 0, err
	}
	daemon := client.New(address)
	found, err := daemon.StatCID(cid)
	if err != nil {
		return nil, 0, err
	}
	return kuboFile{cid, int(found.Size), daemon}, int64(found.Size), nil
}

type kuboFile struct {
	cid    string
	size   int
	daemon *client.Client
}

func (file kuboFile) Fetch(_ context.Context, offset, size int64) (io.ReadCloser, error) {
	from, length := int(offset), int(size)
	if from > file.size {
		return nil, fmt.Errorf("%s has %d bytes, not %d", file.cid, file.size, from)
	}
	return file.daemon.Get("/ipfs/"+file.cid, &from, &length)
}

func (file kuboFile) Check() error {
	_, err := file.daemon.StatCID(file.cid)
	return err
}

func (file kuboFile) GenID(offset, size int64) string {
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", file.cid, offset, size))
	return hex.EncodeToString(digest[:])
}
