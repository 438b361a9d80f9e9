package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/content/proxy"
	"github.com/containerd/containerd/content/testsuite"
	"github.com/containerd/containerd/labels"
	"github.com/containerd/containerd/metadata"
	"github.com/containerd/containerd/namespaces"
	bolt "go.etcd.io/bbolt"
	"ipfs-snapshotter.test/sidecar"
)

// The store itself, and as containerd drives it: behind its metadata, where namespaces share blobs or do not.
func TestContent(t *testing.T) {
	testsuite.ContentSuite(t, "ipfs", direct)
	testsuite.ContentSuite(t, "metadata", behindMetadata())
	testsuite.ContentCrossNSSharedSuite(t, "metadata", behindMetadata())
	testsuite.ContentCrossNSIsolatedSuite(t, "metadata", behindMetadata(metadata.WithPolicyIsolated))
	testsuite.ContentSharedNSIsolatedSuite(t, "metadata", behindMetadata(metadata.WithPolicyIsolated))
}

func direct(ctx context.Context, root string) (context.Context, content.Store, func() error, error) {
	daemon, err := sidecar.Start(root)
	if err != nil {
		return nil, nil, nil, err
	}
	return ctx, proxy.NewContentStore(contentapi.NewContentClient(daemon.Conn)), daemon.Stop, nil
}

func behindMetadata(opts ...metadata.DBOpt) testsuite.StoreInitFn {
	return func(ctx context.Context, root string) (context.Context, content.Store, func() error, error) {
		ctx, store, stop, err := direct(ctx, root)
		if err != nil {
			return nil, nil, nil, err
		}
		db, err := bolt.Open(filepath.Join(root, "metadata.db"), 0o600, nil)
		if err != nil {
			_ = stop()
			return nil, nil, nil, err
		}
		end := func() error {
			_ = db.Close()
			return stop()
		}
		return testsuite.SetContextWrapper(ctx, namespaced(db, testsuite.Name(ctx))), metadata.NewDB(db, store, nil, opts...).ContentStore(), end, nil
	}
}

// namespaced gives each context that the suite asks for a namespace of its own.
func namespaced(db *bolt.DB, name string) testsuite.ContextWrapper {
	var count atomic.Uint64
	return func(ctx context.Context, shared bool) (context.Context, func(context.Context) error, error) {
		namespace := fmt.Sprintf("%s-%d", name, count.Add(1))
		if shared {
			err := db.Update(func(tx *bolt.Tx) error {
				return metadata.NewNamespaceStore(tx).SetLabel(ctx, namespace, labels.LabelSharedNamespace, "true")
			})
			if err != nil {
				return nil, nil, err
			}
		}
		return namespaces.WithNamespace(ctx, namespace), func(context.Context) error { return nil }, nil
	}
}
