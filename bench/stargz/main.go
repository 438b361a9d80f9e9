// stargz-peer runs stargz-snapshotter's own library as the benchmark's contender: `serve` is its snapshotter behind a
// socket, `pull` asks containerd to pull through it as its command line tool does, `convert` makes eStargz layers with its
// converter. Nothing here is tuned: defaults are the library's.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `stargz-peer serve SOCKET ROOT [--ipfs]
stargz-peer pull CONTAINERD-SOCKET REFERENCE
stargz-peer convert LAYOUT OUT [PRIORITIZED-FILES]`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "serve":
		return serve(ctx, args[1], args[2], len(args) == 4 && args[3] == "--ipfs")
	case len(args) == 3 && args[0] == "pull":
		return pull(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "convert":
		return convert(args[1], args[2], "")
	case len(args) == 4 && args[0] == "convert":
		return convert(args[1], args[2], args[3])
	}
	return fmt.Errorf("%s", usage)
}
