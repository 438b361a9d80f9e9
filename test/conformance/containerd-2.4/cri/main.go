// Command cri does over the CRI what kubelet does: `pull` brings an image, `run` runs one container that ends in a pod of
// its own on the host's network, prints what it said, and takes the pod away. It works with any containerd from 1.6 on.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	patience = 2 * time.Minute
	pause    = 20 * time.Millisecond
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: cri ADDRESS pull NAME | cri ADDRESS run NAME WORD…")
		os.Exit(2)
	}
	if err := act(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func act(address, verb, name string, words []string) error {
	connection, err := grpc.NewClient("unix:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch verb {
	case "pull":
		_, err := cri.NewImageServiceClient(connection).PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: name}})
		return err
	case "run":
		return run(ctx, cri.NewRuntimeServiceClient(connection), name, words)
	}
	return fmt.Errorf("%s: neither pull nor run", verb)
}

func run(ctx context.Context, runtime cri.RuntimeServiceClient, name string, words []string) (err error) {
	logs, err := os.MkdirTemp("", "cri-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(logs)
	id := strconv.FormatInt(time.Now().UnixNano(), 36)
	onHost := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}
	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "e2e-" + id, Uid: id, Namespace: "default"},
		LogDirectory: logs,
		Linux:        &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: onHost}},
	}
	sandbox, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return err
	}
	defer func() {
		// Removal stops the pod and takes its containers along.
		_, removed := runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
		err = errors.Join(err, removed)
	}()
	container, err := runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId:  sandbox.PodSandboxId,
		SandboxConfig: pod,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "program"},
			Image:    &cri.ImageSpec{Image: name},
			Command:  words,
			LogPath:  "log",
			Linux:    &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: onHost}},
		},
	})
	if err != nil {
		return err
	}
	if _, err := runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: container.ContainerId}); err != nil {
		return err
	}
	code, err := end(ctx, runtime, container.ContainerId)
	if err != nil {
		return err
	}
	said, err := os.ReadFile(filepath.Join(logs, "log"))
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("container: exit %d\n%s", code, said)
	}
	// A line of such a log: time, stream, "F" for a whole line, the line.
	for _, line := range strings.Split(strings.TrimSpace(string(said)), "\n") {
		if _, text, whole := strings.Cut(line, " stdout F "); whole {
			fmt.Println(text)
		}
	}
	return nil
}

// end waits until the container has ended; its exit code.
func end(ctx context.Context, runtime cri.RuntimeServiceClient, id string) (int32, error) {
	for {
		answer, err := runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
		if err != nil {
			return 0, err
		}
		if answer.Status.State == cri.ContainerState_CONTAINER_EXITED {
			return answer.Status.ExitCode, nil
		}
		time.Sleep(pause)
	}
}
