// A lazy pull as the peer's own command line does it: containerd pulls with labels that tell the snapshotter where each
// layer is, and downloads only what the snapshotter does not take.
package main

import (
	"context"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/stargz-snapshotter/fs/source"
)

const prefetchBytes = 10 * 1024 * 1024 // its default, where no landmark says more

func pull(ctx context.Context, socket, reference string) error {
	daemon, err := containerd.New(socket)
	if err != nil {
		return err
	}
	defer daemon.Close()
	ctx = namespaces.WithNamespace(ctx, "default")
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost)),
	})
	_, err = daemon.Pull(ctx, reference,
		containerd.WithResolver(resolver),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter("stargz"),
		containerd.WithImageHandlerWrapper(source.AppendDefaultLabelsHandlerWrapper(reference, prefetchBytes)))
	return err
}
