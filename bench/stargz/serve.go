// The snapshotter service on a unix socket until a signal; then its mounts are taken down.
package main

import (
	"context"
	"net"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	stargzfs "github.com/containerd/stargz-snapshotter/fs"
	"github.com/containerd/stargz-snapshotter/service"
	"google.golang.org/grpc"
)

func serve(ctx context.Context, socket, root string, ipfs bool) error {
	var options []service.Option
	if ipfs {
		options = append(options, service.WithFilesystemOptions(stargzfs.WithResolveHandler("ipfs", kubo{})))
	}
	snapshotter, err := service.NewStargzSnapshotterService(ctx, root, &service.Config{}, options...)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return err
	}
	return snapshotter.Close()
}
