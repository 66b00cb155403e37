// Command image writes the container image of a release as an OCI layout: for each architecture
// what the Dockerfile makes, with a provenance and bills of material as in-toto statements, in
// the way of BuildKit. The same input makes the same bytes.
//
//	image -o DIR -version v1.2.0 -revision COMMIT -source URL -time EPOCH ARCH=PROGRAMS,BILL... ...
//
// PROGRAMS is a directory whose files become /usr/bin of the image, BILL a CycloneDX file.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// A release is what all architectures of an image have in common.
type release struct {
	version, revision, source string
	time                      time.Time
}

func run(args []string) error {
	var r release
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	output := flags.String("o", "", "directory of the layout, which must not exist")
	epoch := flags.Int64("time", 0, "seconds since 1970 of the commit")
	flags.StringVar(&r.version, "version", "", "version")
	flags.StringVar(&r.revision, "revision", "", "commit")
	flags.StringVar(&r.source, "source", "", "URL of the repository")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r.time = time.Unix(*epoch, 0).UTC()

	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arg := range flags.Args() {
		arch, files, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=PROGRAMS,BILL...", arg)
		}
		parts := strings.Split(files, ",")
		image, err := r.image(arch, parts[0])
		if err != nil {
			return fmt.Errorf("image for %s: %w", arch, err)
		}
		attestation, err := r.attestation(image, parts[1:])
		if err != nil {
			return fmt.Errorf("attestation for %s: %w", arch, err)
		}
		digest, err := image.Digest()
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index,
			mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}},
			mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
				Annotations: map[string]string{
					"vnd.docker.reference.digest": digest.String(),
					"vnd.docker.reference.type":   "attestation-manifest",
				},
			}})
	}
	annotated, ok := mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if !ok {
		return errors.New("the index can't be annotated")
	}
	path, err := layout.Write(*output, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(annotated, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": strings.TrimPrefix(r.version, "v"),
	}))
}

// labels are those of the Dockerfile, which describe the image.
func (r *release) labels() map[string]string {
	const key = "org.opencontainers.image."
	return map[string]string{
		key + "title":       "greetd",
		key + "description": "TCP greeting daemon, and greetprobe",
		key + "licenses":    "Apache-2.0",
		key + "source":      r.source,
		key + "version":     r.version,
		key + "revision":    r.revision,
		key + "created":     r.time.Format(time.RFC3339),
	}
}

// image returns what the Dockerfile makes of the programs in a directory.
func (r *release) image(arch, programs string) (v1.Image, error) {
	files, err := r.layer(programs)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "make release"}})
	if err != nil {
		return nil, err
	}
	return configure(image, "linux", arch, func(file *v1.ConfigFile) {
		file.Created = v1.Time{Time: r.time}
		file.Config = v1.Config{
			User:         "65532:65532",
			Env:          []string{"PATH=/usr/bin", "GREETD_LOG_OUTPUT=stdout", "GREETD_LOG_FORMAT=json"},
			Entrypoint:   []string{"greetd"},
			ExposedPorts: map[string]struct{}{"10000/tcp": {}},
			StopSignal:   "SIGTERM",
			Labels:       r.labels(),
			Healthcheck: &v1.HealthConfig{
				Test:     []string{"CMD", "greetprobe", "--quiet", "--timeout", "3s", "127.0.0.1", "10000"},
				Interval: 10 * time.Second, Timeout: 5 * time.Second, StartPeriod: 5 * time.Second, Retries: 3,
			},
		}
	})
}

// configure returns image for a platform, with a changed configuration.
func configure(image v1.Image, system, arch string, change func(*v1.ConfigFile)) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = system, arch
	change(file)
	return mutate.ConfigFile(image, file)
}

// layer returns a tar with the files of a directory in /usr/bin.
func (r *release) layer(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range []string{"usr/", "usr/bin/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: r.time}); err != nil {
			return nil, err
		}
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/" + entry.Name(), Mode: 0o755, Size: int64(len(content)), ModTime: r.time}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// A statement is what in-toto says about a thing of a digest.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     any       `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

// attestation returns the provenance and the bills of material of an image, as an image.
func (r *release) attestation(image v1.Image, bills []string) (v1.Image, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	about := []subject{{Name: "greetd", Digest: map[string]string{digest.Algorithm: digest.Hex}}}
	statements := []statement{{"https://in-toto.io/Statement/v1", about, "https://slsa.dev/provenance/v1", r.provenance()}}
	for _, bill := range bills {
		content, err := os.ReadFile(bill)
		if err != nil {
			return nil, err
		}
		statements = append(statements, statement{"https://in-toto.io/Statement/v1", about, "https://cyclonedx.org/bom", json.RawMessage(content)})
	}

	attestation := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, s := range statements {
		text, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		attestation, err = mutate.Append(attestation, mutate.Addendum{
			Layer:       static.NewLayer(text, "application/vnd.in-toto+json"),
			MediaType:   "application/vnd.in-toto+json",
			Annotations: map[string]string{"in-toto.io/predicate-type": s.PredicateType},
		})
		if err != nil {
			return nil, err
		}
	}
	return configure(attestation, "unknown", "unknown", func(*v1.ConfigFile) {})
}

// provenance says of which commit, and how, the programs were built; the predicate of SLSA 1.0.
func (r *release) provenance() any {
	ref := "refs/tags/" + r.version
	return map[string]any{
		"buildDefinition": map[string]any{
			"buildType":          r.source + "/blob/" + r.version + "/deploy/packages/release.sh",
			"externalParameters": map[string]string{"repository": r.source, "ref": ref},
			"resolvedDependencies": []subject{
				{URI: "git+" + r.source + "@" + ref, Digest: map[string]string{"gitCommit": r.revision}},
			},
		},
		"runDetails": map[string]any{
			"builder": map[string]string{"id": r.source + "/blob/" + r.version + "/.github/workflows/ci.yml"},
		},
	}
}
