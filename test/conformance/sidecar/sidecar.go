// Package sidecar starts `ipfs-snapshotter serve` with folders of its own and connects to it, for containerd's conformance suites.
// The program is named by IPFS_SNAPSHOTTER_COMMAND; its log goes to the test's standard error when the daemon fails.
package sidecar

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const startDeadline = 30 * time.Second

// Sidecar is one running daemon.
type Sidecar struct {
	Conn    *grpc.ClientConn
	command string
	config  string
	process *exec.Cmd
	log     bytes.Buffer
}

// Start runs a daemon whose root lies below folder (on the filesystem under test) and whose sockets lie in a short folder of their own.
func Start(folder string) (*Sidecar, error) {
	command := os.Getenv("IPFS_SNAPSHOTTER_COMMAND")
	if command == "" {
		return nil, fmt.Errorf("IPFS_SNAPSHOTTER_COMMAND names no program")
	}
	state, err := os.MkdirTemp("", "sidecar-")
	if err != nil {
		return nil, err
	}
	s := &Sidecar{command: command, config: filepath.Join(state, "config.toml")}
	text := fmt.Sprintf("root = %q\nstate = %q\n", filepath.Join(folder, "ipfs-snapshotter"), state)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s.process = exec.Command(command, "serve", "--config", s.config)
	s.process.Stderr = &s.log
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	if err := s.connect(filepath.Join(state, "snapshotter.sock")); err != nil {
		_ = s.Stop()
		return nil, fmt.Errorf("%w; its log: %s", err, s.log.String())
	}
	return s, nil
}

// connect waits for the socket, which appears when the daemon answers.
func (s *Sidecar) connect(socket string) error {
	for deadline := time.Now().Add(startDeadline); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			break
		} else if time.Now().After(deadline) {
			return fmt.Errorf("no daemon at %s within %s", socket, startDeadline)
		}
	}
	var err error
	s.Conn, err = grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return err
}

// Stop takes the daemon, its data plane and its mounts down and removes the state folder.
func (s *Sidecar) Stop() error {
	if s.Conn != nil {
		s.Conn.Close()
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	_ = s.process.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	if out, err := exec.CommandContext(ctx, s.command, "serve", "--stop", "--config", s.config).CombinedOutput(); err != nil {
		return fmt.Errorf("serve --stop: %w: %s", err, out)
	}
	return os.RemoveAll(filepath.Dir(s.config))
}
