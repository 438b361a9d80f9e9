// An OCI layout with gzip layers → one with eStargz layers, by the peer's own converter at its defaults. Files of the list
// come first in their layer, before the landmark that ends the prefetch.
package main

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func convert(layout, out, list string) error {
	files, err := readList(list)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(out, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	var index ocispec.Index
	if err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return err
	}
	if len(index.Manifests) != 1 {
		return fmt.Errorf("%s holds %d images, not one", layout, len(index.Manifests))
	}
	var manifest ocispec.Manifest
	var config ocispec.Image
	if err := readJSON(blob(layout, index.Manifests[0].Digest), &manifest); err != nil {
		return err
	}
	if err := readJSON(blob(layout, manifest.Config.Digest), &config); err != nil {
		return err
	}
	for at, layer := range manifest.Layers {
		manifest.Layers[at], config.RootFS.DiffIDs[at], err = convertLayer(layout, out, layer, files)
		if err != nil {
			return fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
	}
	if err := addJSON(out, config, &manifest.Config); err != nil {
		return err
	}
	if err := addJSON(out, manifest, &index.Manifests[0]); err != nil {
		return err
	}
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "index.json"), text, 0o644)
}

func convertLayer(layout, out string, layer ocispec.Descriptor, files []string) (ocispec.Descriptor, digest.Digest, error) {
	tar, err := inflate(blob(layout, layer.Digest), out)
	if err != nil {
		return layer, "", err
	}
	defer os.Remove(tar.Name())
	defer tar.Close()
	info, err := tar.Stat()
	if err != nil {
		return layer, "", err
	}
	var missed []string // those of the other layers
	built, err := estargz.Build(io.NewSectionReader(tar, 0, info.Size()),
		estargz.WithPrioritizedFiles(files), estargz.WithAllowPrioritizeNotFound(&missed))
	if err != nil {
		return layer, "", err
	}
	defer built.Close()
	written, err := os.CreateTemp(out, "layer-")
	if err != nil {
		return layer, "", err
	}
	defer written.Close()
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(written, hash), built)
	if err != nil {
		return layer, "", err
	}
	layer.Digest = digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(hash.Sum(nil)))
	layer.Size = size
	layer.Annotations = map[string]string{
		estargz.TOCJSONDigestAnnotation:         built.TOCDigest().String(),
		estargz.StoreUncompressedSizeAnnotation: fmt.Sprint(info.Size()),
	}
	return layer, built.DiffID(), os.Rename(written.Name(), blob(out, layer.Digest))
}

func inflate(path, folder string) (*os.File, error) {
	compressed, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer compressed.Close()
	reader, err := gzip.NewReader(bufio.NewReaderSize(compressed, 1<<20))
	if err != nil {
		return nil, err
	}
	tar, err := os.CreateTemp(folder, "tar-")
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(tar, reader)
	return tar, err
}

// The converter takes names as they stand in tars, without the leading slash.
func readList(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, line := range strings.Split(string(text), "\n") {
		if line != "" {
			files = append(files, strings.TrimPrefix(line, "/"))
		}
	}
	return files, nil
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func addJSON(layout string, document any, descriptor *ocispec.Descriptor) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	descriptor.Digest = digest.FromBytes(text)
	descriptor.Size = int64(len(text))
	return os.WriteFile(blob(layout, descriptor.Digest), text, 0o644)
}

func blob(layout string, name digest.Digest) string {
	return filepath.Join(layout, "blobs", "sha256", name.Encoded())
}
