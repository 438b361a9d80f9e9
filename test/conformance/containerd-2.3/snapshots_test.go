package conformance

import (
	"context"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"

	// Registers the suite's flag -test.root.
	_ "github.com/containerd/containerd/v2/pkg/testutil"
	"ipfs-snapshotter.test/sidecar"
)

// The suite is told "overlayfs", as for containerd's own: renaming a directory of a lower layer is beyond any overlay filesystem.
func TestSnapshotter(t *testing.T) {
	testsuite.SnapshotterSuite(t, "overlayfs", func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		daemon, err := sidecar.Start(root)
		if err != nil {
			return nil, nil, err
		}
		return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(daemon.Conn), "ipfs"), daemon.Stop, nil
	})
}
