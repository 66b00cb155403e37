package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// build runs the command for two architectures, and returns the layout and the index of the image.
func build(t *testing.T) (layout.Path, v1.ImageIndex) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-o", dir + "/layout", "-version", "v1.2.0", "-revision", "0123abcd", "-source", "https://git.example/greetd", "-time", "1767225600"}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, program := range []string{"greetd", "greetprobe"} {
			write(t, filepath.Join(dir, arch, program), program+" for "+arch)
		}
		write(t, filepath.Join(dir, arch+".cdx.json"), `{"bomFormat": "CycloneDX"}`)
		args = append(args, arch+"="+filepath.Join(dir, arch)+","+filepath.Join(dir, arch+".cdx.json"))
	}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	root, err := layout.ImageIndexFromPath(dir + "/layout")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := root.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%+v, %v", manifest, err)
	}
	index, err := root.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return layout.Path(dir + "/layout"), index
}

// digest returns the digest of the image that build makes.
func digest(t *testing.T) v1.Hash {
	t.Helper()
	_, index := build(t)
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSameInputMakesTheSameImage(t *testing.T) {
	if one, other := digest(t), digest(t); one != other {
		t.Errorf("%v and %v", one, other)
	}
}

// Each image has its attestation, which names the image's digest, the commit and the bills.
func TestAttestations(t *testing.T) {
	path, index := build(t)
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 4 {
		t.Fatalf("%+v, %v", manifest, err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		image, about := manifest.Manifests[2*i], manifest.Manifests[2*i+1]
		if image.Platform.Architecture != arch || about.Annotations["vnd.docker.reference.digest"] != image.Digest.String() {
			t.Errorf("%+v\n%+v", image, about)
		}
		programs, err := index.Image(image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(programs); err != nil {
			t.Errorf("the image for %s: %v", arch, err)
		}
		attestation, err := index.Image(about.Digest)
		if err != nil {
			t.Fatal(err)
		}
		content, err := attestation.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		kinds := []string{}
		for _, layer := range content.Layers {
			kinds = append(kinds, checkStatement(t, path, layer, image.Digest))
		}
		if want := []string{"https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"}; !slices.Equal(kinds, want) {
			t.Errorf("statements %q, want %q", kinds, want)
		}
	}
}

// checkStatement returns what kind of statement a layer of the layout has.
func checkStatement(t *testing.T, path layout.Path, layer v1.Descriptor, image v1.Hash) string {
	t.Helper()
	text, err := path.Bytes(layer.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if sum, _, err := v1.SHA256(bytes.NewReader(text)); err != nil || sum != layer.Digest {
		t.Errorf("%v has the digest %v, %v", layer.Digest, sum, err)
	}
	var s statement
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Subject) != 1 || s.Subject[0].Digest["sha256"] != image.Hex {
		t.Errorf("the statement is about %+v, want %v", s.Subject, image)
	}
	if strings.Contains(s.PredicateType, "slsa") && !strings.Contains(string(text), `"digest":{"gitCommit":"0123abcd"}`) {
		t.Errorf("the provenance does not name the commit: %s", text)
	}
	return s.PredicateType
}

// The image is configured as the one that the Dockerfile makes.
func TestImageIsThatOfTheDockerfile(t *testing.T) {
	text, err := os.ReadFile("../../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, final, found := strings.Cut(strings.ReplaceAll(string(text), "\\\n", ""), "\nFROM scratch\n")
	if !found {
		t.Fatal("the Dockerfile has no FROM scratch")
	}
	_, index := build(t)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := file.Config
	health := c.Healthcheck
	has := map[string]string{
		"ENV":         strings.Join(c.Env, " "),
		"USER":        c.User,
		"EXPOSE":      "10000",
		"STOPSIGNAL":  c.StopSignal,
		"ENTRYPOINT":  `["` + strings.Join(c.Entrypoint, `", "`) + `"]`,
		"HEALTHCHECK": "--interval=" + health.Interval.String() + " --timeout=" + health.Timeout.String() + " --start-period=" + health.StartPeriod.String() + " --retries=3 " + `CMD ["` + strings.Join(health.Test[1:], `", "`) + `"]`,
	}
	if _, ok := c.ExposedPorts["10000/tcp"]; !ok || health.Retries != 3 {
		t.Errorf("ports %v, %d retries", c.ExposedPorts, health.Retries)
	}
	for key, want := range has {
		line := regexp.MustCompile(`(?m)^` + key + ` (.*)$`).FindStringSubmatch(final)
		if line == nil || strings.Join(strings.Fields(line[1]), " ") != want {
			t.Errorf("%s is %q, and in the Dockerfile %q", key, want, line)
		}
	}
	for _, label := range regexp.MustCompile(`org\.opencontainers\.image\.\w+`).FindAllString(final, -1) {
		if c.Labels[label] == "" {
			t.Errorf("the image has no label %s", label)
		}
	}
	if len(c.Labels) != strings.Count(final, "org.opencontainers.image.") {
		t.Errorf("the image has the labels %v, which are not in the Dockerfile", c.Labels)
	}
}
