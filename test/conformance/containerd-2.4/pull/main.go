// Command pull does what programs that embed containerd's client do, and nothing for us: Pull with WithPullUnpack into a
// named snapshotter, from a registry on plain HTTP on this machine. Options are what some of them add: `cri` the labels of
// CRI and the transfer service, `stargz` those of ctr-remote, `fetch-all` WithUnpackFetchAllContent, `parallel` a limiter
// that asks for parallel unpacking.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/snapshotters"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: pull ADDRESS SNAPSHOTTER NAME [cri|stargz|fetch-all|parallel]…")
		os.Exit(2)
	}
	if err := pull(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pull(address, snapshotter, name string, options []string) error {
	client, err := containerd.New(address)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx := namespaces.WithNamespace(context.Background(), "default")
	hosts := docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost))
	remote := []containerd.RemoteOpt{
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
		containerd.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: hosts})),
	}
	for _, option := range options {
		switch option {
		case "cri":
			remote = append(remote, containerd.WithImageHandlerWrapper(snapshotters.AppendInfoHandlerWrapper(name)))
		case "stargz":
			remote = append(remote, containerd.WithImageHandlerWrapper(stargzLabels(name)))
		case "fetch-all":
			remote = append(remote, containerd.WithUnpackOpts([]containerd.UnpackOpt{containerd.WithUnpackFetchAllContent()}))
		case "parallel":
			remote = append(remote, containerd.WithUnpackOpts([]containerd.UnpackOpt{containerd.WithUnpackLimiter(semaphore.NewWeighted(3))}))
		default:
			return fmt.Errorf("%s: no such option", option)
		}
	}
	_, err = client.Pull(ctx, name, remote...)
	return err
}

// stargzLabels are the default labels of stargz-snapshotter, fs/source/source.go there.
func stargzLabels(name string) func(images.Handler) images.Handler {
	const prefix = "containerd.io/snapshot/remote/"
	return func(handler images.Handler) images.Handler {
		return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			children, err := handler.Handle(ctx, desc)
			if err != nil || !images.IsManifestType(desc.MediaType) {
				return children, err
			}
			var layers []string
			for at := len(children) - 1; at >= 0; at-- {
				child := &children[at]
				if !images.IsLayerType(child.MediaType) {
					continue
				}
				layers = append([]string{child.Digest.String()}, layers...)
				if child.Annotations == nil {
					child.Annotations = map[string]string{}
				}
				child.Annotations[prefix+"stargz.reference"] = name
				child.Annotations[prefix+"stargz.digest"] = child.Digest.String()
				child.Annotations[prefix+"stargz.layers"] = strings.Join(layers, ",")
				child.Annotations[prefix+"stargz.prefetch"] = "10485760"
				child.Annotations[prefix+"urls"] = strings.Join(child.URLs, ",")
			}
			return children, nil
		})
	}
}
