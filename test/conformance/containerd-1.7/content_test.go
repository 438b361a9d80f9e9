package conformance

import (
	"context"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/content/proxy"
	"github.com/containerd/containerd/content/testsuite"

	"ipfs-snapshotter.test/sidecar"
)

func TestContent(t *testing.T) {
	testsuite.ContentSuite(t, "ipfs", func(ctx context.Context, root string) (context.Context, content.Store, func() error, error) {
		daemon, err := sidecar.Start(root)
		if err != nil {
			return nil, nil, nil, err
		}
		return ctx, proxy.NewContentStore(contentapi.NewContentClient(daemon.Conn)), daemon.Stop, nil
	})
}
