package e2e

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"greetd.example/internal/test/debian"
)

// newTag is the version that the tests publish. No real one comes near.
const newTag = "v1.999.0"

// A publication is what make release makes of this tree, in two folders, and the packages of
// the version before: of the last tag, or of this tree under an older name.
type publication struct {
	tools  []string // settings for make
	source string   // where now was made
	now    string
	again  string
	before string
}

// publish makes it, once for all tests.
var publish = sync.OnceValues(func() (p publication, err error) {
	tools, err := filepath.Abs("../../.cache/bin")
	if err != nil {
		return p, err
	}
	p.tools = []string{"TOOLS=" + tools, "UNSIGNED=yes"}
	for _, tool := range []string{"nfpm", "go-licenses", "cyclonedx-gomod", "govulncheck", "image", "jv"} {
		if _, err := command("make", "-C", "../..", ".cache/bin/"+tool); err != nil {
			return p, err
		}
		p.tools = append(p.tools, "--old-file="+tools+"/"+tool) // in a copy everything looks new
	}

	scratch := os.Getenv(insideEnv)
	p.source = filepath.Join(scratch, "published")
	p.now = filepath.Join(p.source, "dist")
	if err := copyOfThis(p.source, newTag); err != nil {
		return p, err
	}
	if _, err := command("make", append(p.tools, "-C", p.source, "release")...); err != nil {
		return p, err
	}

	again, before := filepath.Join(scratch, "else", "where"), filepath.Join(scratch, "before")
	p.again, p.before = filepath.Join(again, "dist"), filepath.Join(before, "dist")
	var both errgroup.Group
	both.Go(func() error { // another folder, another user with other habits
		if err := copyOfThis(again, newTag); err != nil {
			return err
		}
		_, err := command("env", append([]string{
			"TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "BIN=/nowhere",
			"sh", "-c", `umask 077; chmod -R go= "$0"; exec make "$@"`, again, "-C", again, "release",
		}, p.tools...)...)
		return err
	})
	both.Go(func() error {
		if err := versionBefore(before); err != nil {
			return err
		}
		_, err := command("make", append(p.tools, "-C", before, "packages")...)
		return err
	})
	err = both.Wait()
	_ = os.RemoveAll(filepath.Join(again, ".cache")) // all of this is in memory
	_ = os.RemoveAll(filepath.Join(before, ".cache"))
	return p, err
})

// published returns the publication, for a test that can be run here.
func published(t *testing.T) publication {
	t.Helper()
	skipUnlessPossible(t)
	debian.Program(t, "git", "git")
	p, err := publish()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// copyOfThis makes dir a repository with this tree as its only commit, under a tag. That of
// newTag has news in its configuration and in its changelog.
func copyOfThis(dir, tag string) error {
	news := ":"
	if tag == newTag {
		news = `printf '%s' "$NEWS" >>configs/greetd.yaml
			sed -i "s/^## Unreleased/&\n\n## ${TAG#v} - 2026-01-01/" CHANGELOG.md`
	}
	cmd := exec.Command("sh", "-euc", `
		mkdir -p "$DIR"
		tar -C ../.. --exclude=./.git --exclude=./.cache --exclude=./bin --exclude=./dist -cf - . | tar -C "$DIR" --no-same-owner -xf -
		cd "$DIR"
		`+news+`
		git init --quiet
		git config core.autocrlf false
		git add --all
		git commit --quiet --no-verify --message="$TAG"
		git tag "$TAG"`)
	cmd.Env = append(os.Environ(), "DIR="+dir, "TAG="+tag, "NEWS="+newsLine,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@example.org", "GIT_AUTHOR_DATE=1767225600 +0000",
		"GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@example.org", "GIT_COMMITTER_DATE=1767225600 +0000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy this tree to %s: %w\n%s", dir, err, out)
	}
	return nil
}

// versionBefore makes dir a repository with the version before: that of the newest tag below
// this commit which is no pre-release, or without one this tree under an older name.
func versionBefore(dir string) error {
	trust := filepath.Join(os.Getenv(insideEnv), "gitconfig") // whosever this tree is
	if err := os.WriteFile(trust, []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return err
	}
	git := func(args ...string) (string, error) {
		return command("env", append([]string{"GIT_CONFIG_GLOBAL=" + trust, "git"}, args...)...)
	}
	tags, err := git("-C", "../..", "tag", "--list", "v[0-9]*", "--sort=-version:refname", "--merged=HEAD", "--no-contains=HEAD")
	if err != nil {
		tags = "" // there is no repository, or no commit
	}
	for tag := range strings.Lines(tags) {
		if tag = strings.TrimSpace(tag); !strings.Contains(tag, "-") {
			_, err := git("clone", "--quiet", "--branch", tag, "../..", dir)
			return err
		}
	}
	return copyOfThis(dir, "v0.1.0")
}

// onlyFile returns the one file that there is of a pattern.
func onlyFile(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %q, %v", pattern, files, err)
	}
	return files[0]
}

func TestReleaseMakesTheSameBytesAgain(t *testing.T) {
	p := published(t)
	now, again := tree(t, p.now), tree(t, p.again)
	files := 4*2 + 2 + 4 + 1 + 1   // packages, archives, bills of material, image, checksums
	apt, yum := 4+2*2+1+1, 4+1+3+1 // packages, indexes, and a description for each package manager
	if len(now) != files+apt+yum {
		t.Errorf("published are %q", slices.Sorted(maps.Keys(now)))
	}
	if !slices.Equal(slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(again))) {
		t.Fatalf("one has %q\nthe other %q", slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(again)))
	}
	for name, content := range now {
		if again[name] != content {
			t.Errorf("%s is another one in another folder", name)
		}
	}
	sums := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	sums.Dir = p.now
	if out, err := sums.CombinedOutput(); err != nil || strings.Count(now["/SHA256SUMS"], "\n") != files-1 {
		t.Errorf("%v\n%s%s", err, out, now["/SHA256SUMS"])
	}
}

func TestReleaseRefuses(t *testing.T) {
	p := published(t)
	dir := t.TempDir()
	if out, err := command("git", "clone", "--quiet", p.source, dir); err != nil {
		t.Fatal(err, out)
	}
	refuses := func(want string) {
		t.Helper()
		out, err := command("sh", filepath.Join(dir, "deploy/packages/release.sh"))
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("release: %v, and does not say %q\n%s", err, want, out)
		}
	}
	git := func(args ...string) {
		t.Helper()
		if out, err := command("git", append([]string{"-C", dir}, args...)...); err != nil {
			t.Fatal(err, out)
		}
	}
	writeFile(t, filepath.Join(dir, "README.md"), "changed\n")
	refuses("something is changed")
	git("checkout", "--quiet", "README.md")
	git("tag", "--delete", newTag)
	refuses("no tag")
	git("tag", "v1.999.1")
	refuses(`no section "## 1.999.1"`)
	git("tag", "--delete", "v1.999.1")
	writeFile(t, filepath.Join(dir, "CHANGELOG.md"), "## Unreleased\n\n- Nothing.\n")
	git("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--all", "--message=x")
	git("tag", "v7.0.0-rc.1") // for it the module's path would have to end in /v7
	refuses("is no version of this module")
}

// The bills of material are valid CycloneDX, and list what the go command has written into
// the programs.
func TestBillsOfMaterial(t *testing.T) {
	p := published(t)
	_, tools, _ := strings.Cut(p.tools[0], "=")

	// The schema comes with the library that writes them, in which a file has a wrong name.
	source, err := command("sh", "-c", "cd ../../tools/release && go list -m -f '{{.Dir}}' github.com/CycloneDX/cyclonedx-go")
	if err != nil {
		t.Fatal(err, source)
	}
	schema := t.TempDir()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		content, err := os.ReadFile(filepath.Join(source, "schema", name))
		if err != nil {
			content, err = os.ReadFile(filepath.Join(source, "schema", strings.Replace(name, "schema", "schemax", 1)))
		}
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(schema, name), string(content))
	}
	valid := func(file string) (string, error) {
		return command(tools+"/jv", "--map", "http://cyclonedx.org/schema/="+schema, filepath.Join(schema, "bom-1.6.schema.json"), file)
	}

	for _, arch := range []string{"amd64", "arm64"} {
		for _, program := range []string{"greetd", "greetprobe"} {
			file := onlyFile(t, filepath.Join(p.now, program+"_*_linux_"+arch+".cdx.json"))
			if out, err := valid(file); err != nil {
				t.Errorf("%s: %v\n%s", file, err, out)
			}
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			wrong := filepath.Join(t.TempDir(), "wrong.json")
			writeFile(t, wrong, strings.Replace(string(content), `"library"`, `"book"`, 1))
			if out, err := valid(wrong); err == nil {
				t.Errorf("the schema takes anything: %s", out)
			}

			var bill struct {
				Metadata   struct{ Component struct{ Version string } }
				Components []struct{ Name, Version string }
			}
			if err := json.Unmarshal(content, &bill); err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, c := range bill.Components {
				got = append(got, c.Name+" "+c.Version)
			}
			if want := linked(t, filepath.Join(p.source, ".cache/packages", arch, "bin", program)); !slices.Equal(slices.Sorted(slices.Values(got)), want) || bill.Metadata.Component.Version != newTag {
				t.Errorf("%s of %s lists\n%q, linked are\n%q", file, bill.Metadata.Component.Version, got, want)
			}
		}
	}
}

// linked returns the modules in a program, the standard library among them, each with its
// version.
func linked(t *testing.T, program string) []string {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	modules := []string{"std " + info.GoVersion}
	for _, module := range info.Deps {
		modules = append(modules, module.Path+" "+module.Version)
	}
	slices.Sort(modules)
	return modules
}

// The programs in an archive are static, for their machine, and can be installed by the
// script beside them. What others wrote is named in it.
func TestArchivesCanBeInstalledFrom(t *testing.T) {
	p := published(t)
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		dir := t.TempDir()
		if out, err := command("tar", "-xzf", onlyFile(t, p.now+"/greetd_*_linux_"+arch+".tar.gz"), "-C", dir, "--strip-components=1"); err != nil {
			t.Fatal(err, out)
		}
		notices, err := os.ReadFile(filepath.Join(dir, "third-party-notices"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"greetd", "greetprobe"} {
			program := filepath.Join(dir, "bin", name)
			file, err := elf.Open(program)
			if err != nil {
				t.Fatal(err)
			}
			if libraries, err := file.ImportedLibraries(); file.Machine != machine || err == nil && len(libraries) > 0 {
				t.Errorf("%s for %s is for %v, and wants %q", name, arch, file.Machine, libraries)
			}
			_ = file.Close()
			for _, module := range linked(t, program) {
				if path, _, _ := strings.Cut(module, " "); path != "std" && !bytes.Contains(notices, []byte("==== "+path+"/")) {
					t.Errorf("%s is in %s, but no notice", path, name)
				}
			}
		}
		if arch != runtime.GOARCH {
			continue
		}

		root, fromHere := t.TempDir(), t.TempDir()
		install := exec.Command("sh", filepath.Join(dir, "deploy/install.sh"))
		install.Env = append(os.Environ(), "DESTDIR="+root)
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := command(filepath.Join(root, "usr/local/sbin/greetd"), "version"); err != nil || !strings.Contains(out, newTag) {
			t.Error(err, out)
		}
		if out, err := makeInstall(t, "install", fromHere); err != nil {
			t.Fatal(err, out)
		}
		got, want := slices.Sorted(maps.Keys(tree(t, root))), slices.Sorted(maps.Keys(tree(t, fromHere)))
		if !slices.Equal(got, want) {
			t.Errorf("installed from the archive:\n%s\nby make install:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
