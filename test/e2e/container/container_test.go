// Package container builds the image of the Dockerfile and runs it, as those who build and
// run containers do: by buildah and runc, without a registry and without a network.
package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

// maxSize is of the whole image, unpacked.
const maxSize = 30_000_000

// waitLimit is for what happens at once where nobody else needs the processors.
const waitLimit = time.Minute

func TestContainer(t *testing.T) {
	i := build(t)
	t.Run("holds both programs and nothing else", i.content)
	t.Run("says which commit it is of", i.version)
	t.Run("greets", i.greets)
	t.Run("fails the health check while it hangs", i.hangs)
	t.Run("fails the health check of a listener that is not there", i.elsewhere)
	t.Run("fails without standard output", i.noStdout)
	t.Run("drains on SIGTERM", i.drains)
	t.Run("reloads a mounted file on SIGHUP", i.reloads)
	t.Run("tells on stderr why it does not start", i.refuses)
	t.Run("minds the memory that it has", i.memory)
	t.Run("survives more clients than fit into its memory", i.many)
	t.Run("runs with the configuration for Kubernetes", i.kubernetes)
}

// An image is what the Dockerfile makes.
type image struct {
	root   string // its files
	config config
}

// A config is of the image, as far as runtimes follow it.
type config struct {
	User        string
	Env         []string
	Entrypoint  []string
	StopSignal  string
	Healthcheck struct{ Test []string }
}

// build builds the image from a base that is made here: this machine's shell, Go and
// modules. Nothing in it reaches a network.
func build(t *testing.T) *image {
	t.Helper()
	if os.Getenv("GREETD_E2E") == "" {
		t.Skip("it builds an image: run make e2e")
	}
	if os.Getuid() != 0 {
		debian.Lacking(t, "root")
	}
	debian.Program(t, "runc", "runc")
	debian.Program(t, "buildah", "buildah")
	repository, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command("go", "mod", "download"))
	var env struct{ GOROOT, GOMODCACHE, GOCACHE string }
	if err := json.Unmarshal(output(t, exec.Command("go", "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE")), &env); err != nil {
		t.Fatal(err)
	}

	storage := t.TempDir()
	buildah := func(args ...string) []byte {
		cmd := exec.Command("buildah", append([]string{
			"--storage-driver", "vfs", "--root", filepath.Join(storage, "root"), "--runroot", filepath.Join(storage, "run"),
		}, args...)...)
		cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		return output(t, cmd)
	}
	base := t.TempDir()
	if err := os.Mkdir(filepath.Join(base, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(base, dir)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(base, "Dockerfile"), "FROM scratch\nCOPY . /\nENV PATH=/toolchain/bin:/usr/bin HOME=/root\n")
	buildah("build", "--isolation", "chroot", "--tag", "localhost/base", base)
	buildah("build", "--isolation", "chroot", "--format", "docker", "--tag", "localhost/greetd",
		"--build-arg", "GO_IMAGE=localhost/base", "--build-arg", "GOPROXY=file:///modules",
		"--volume", "/usr:/usr:ro", "--volume", env.GOROOT+":/toolchain:ro",
		"--volume", filepath.Join(env.GOMODCACHE, "cache/download")+":/modules:ro",
		"--volume", env.GOCACHE+":/root/.cache/go-build", repository)

	var inspected struct{ Config string }
	if err := json.Unmarshal(buildah("inspect", "--type", "image", "localhost/greetd"), &inspected); err != nil {
		t.Fatal(err)
	}
	var described struct{ Config config }
	if err := json.Unmarshal([]byte(inspected.Config), &described); err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(buildah("from", "localhost/greetd")))
	return &image{root: strings.TrimSpace(string(buildah("mount", name))), config: described.Config}
}

func (i *image) content(t *testing.T) {
	var files []string
	var size int64
	err := filepath.WalkDir(i.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			files = append(files, info.Mode().String()+strings.TrimPrefix(path, i.root))
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"-rwxr-xr-x/usr/bin/greetd", "-rwxr-xr-x/usr/bin/greetprobe"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if size >= maxSize {
		t.Errorf("the image has %d bytes, want less than %d", size, maxSize)
	}
	t.Logf("%d bytes", size)
	if i.config.User != "65532:65532" || i.config.StopSignal != "SIGTERM" {
		t.Errorf("user %q, stop signal %q", i.config.User, i.config.StopSignal)
	}
}

func (i *image) version(t *testing.T) {
	repository, err := os.Stat("../../../.git")
	if err != nil || !repository.IsDir() {
		t.Skip("this is no clone")
	}
	commit := strings.TrimSpace(string(output(t, exec.Command("git", "rev-parse", "HEAD"))))
	c := i.start(t, options{args: []string{"greetd", "version"}})
	if code := c.wait(t); code != 0 || !strings.Contains(c.stdout(t), "commit "+commit) {
		t.Errorf("exit %d, %q, want commit %s", code, c.stdout(t), commit)
	}
}

// noStdout runs the programs of the image without standard output.
func (i *image) noStdout(t *testing.T) {
	for command, want := range map[string]int{"greetd version": 1, "greetprobe --version": 5} {
		cmd := exec.Command("sh", "-c", filepath.Join(i.root, "usr/bin", command)+" >&-")
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s >&-: exit code %d, want %d", command, got, want)
		}
	}
}

func (i *image) greets(t *testing.T) {
	c := i.start(t, options{})
	c.healthy(t)
	if got, want := read(t, c.dial(t, "127.0.0.1:10000")), "Hello there, 127.0.0.1!\n"; got != want {
		t.Errorf("greeting %q, want %q", got, want)
	}
	status := string(contents(t, fmt.Sprintf("/proc/%d/status", c.pid)))
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532\n", "Gid:\t65532\t65532\t65532\t65532\n", "CapEff:\t0000000000000000\n", "\t1\nNSpgid:"} {
		if !strings.Contains(status, want) {
			t.Errorf("the status of the process lacks %q:\n%s", want, status)
		}
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/bin/sh", c.pid)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a shell: %v", err)
	}
	c.kill(t, unix.SIGTERM)
	if code := c.wait(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	greeted := 0
	for _, entry := range c.entries(t) {
		if entry["outcome"] == "greeted" && entry["remote_addr"] == "127.0.0.1" {
			greeted++
		}
	}
	if greeted < 2 {
		t.Errorf("%d visits in the log, want the health check's and ours:\n%s", greeted, c.stdout(t))
	}
	if text := c.stderr(t); text != "" {
		t.Errorf("stderr has %q", text)
	}
}

func (i *image) hangs(t *testing.T) {
	c := i.start(t, options{})
	c.healthy(t)
	if err := unix.Kill(c.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if code := c.exec(t, c.health...); code == 0 {
		t.Error("a process that hangs is healthy")
	}
}

func (i *image) elsewhere(t *testing.T) {
	c := i.start(t, options{env: []string{"GREETD_LISTEN=:10001"}})
	c.await(t, "greetd is ready")
	if code := c.exec(t, c.health...); code == 0 {
		t.Error("a listener that is not there is healthy")
	}
}

// drains stops a container while a client takes its time.
func (i *image) drains(t *testing.T) {
	c := i.start(t, options{config: `
listeners: [{name: greet, address: ":10000", proxy_trusted: [127.0.0.0/8]}]
timeouts: {handshake: 60s, drain: 60s}
`})
	c.await(t, "greetd is ready")
	slow := c.dial(t, "127.0.0.1:10000")
	if _, err := io.WriteString(slow, "PROXY TCP4 192.0.2.7 "); err != nil {
		t.Fatal(err)
	}
	// Clients are taken in turn: when this one is answered, the slow one is inside.
	quick := c.dial(t, "127.0.0.1:10000")
	if _, err := io.WriteString(quick, "PROXY TCP4 192.0.2.8 192.0.2.1 1 2\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, quick), "Hello there, 192.0.2.8!\n"; got != want {
		t.Errorf("greeting %q, want %q", got, want)
	}
	c.kill(t, unix.SIGTERM)
	c.await(t, "shutting down: draining")
	if _, err := io.WriteString(slow, "192.0.2.1 1 2\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, slow), "Hello there, 192.0.2.7!\n"; got != want {
		t.Errorf("greeting %q, want %q", got, want)
	}
	if code := c.wait(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	last := c.entries(t)[len(c.entries(t))-1]
	if last["greeted"] != 2.0 || last["cut"] != 0.0 {
		t.Errorf("the last entry is %v", last)
	}
}

func (i *image) reloads(t *testing.T) {
	c := i.start(t, options{config: "greeting: \"one\\n\"\n"})
	c.healthy(t)
	if got := read(t, c.dial(t, "127.0.0.1:10000")); got != "one\n" {
		t.Errorf("greeting %q", got)
	}
	write(t, c.config, "greeting: \"two\\n\"\n")
	c.kill(t, unix.SIGHUP)
	c.await(t, "greeting changed")
	if got := read(t, c.dial(t, "127.0.0.1:10000")); got != "two\n" {
		t.Errorf("greeting %q", got)
	}
}

func (i *image) refuses(t *testing.T) {
	c := i.start(t, options{config: "greeting: {}\n"})
	if code := c.wait(t); code != 78 {
		t.Errorf("exit %d, want 78", code)
	}
	if text := c.stderr(t); !strings.HasPrefix(text, "greetd: /etc/greetd/greetd.yaml:1: greeting: ") {
		t.Errorf("stderr has %q", text)
	}
	if text := c.stdout(t); text != "" {
		t.Errorf("stdout has %q", text)
	}
}

func (i *image) memory(t *testing.T) {
	for name, test := range map[string]struct {
		env   []string
		limit float64
	}{
		"of the control group": {nil, 160 << 20},
		"of GOMEMLIMIT":        {[]string{"GOMEMLIMIT=100MiB"}, 100 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			c := i.start(t, options{memory: 256 << 20, env: test.env})
			c.await(t, "greetd is ready")
			if first := c.entries(t)[0]; first["memory_limit"] != test.limit {
				t.Errorf("the first entry is %v, want memory_limit %v", first, test.limit)
			}
		})
	}
}

// many is three times the clients that there is memory for, none of whom lets go. Those
// who are too many wait outside, and when all have gone nothing has happened.
func (i *image) many(t *testing.T) {
	c := i.start(t, options{memory: 40 << 20, config: `
listeners: [{name: greet, address: ":10000", proxy_trusted: [192.0.2.0/24, 127.0.0.2]}]
timeouts: {handshake: 60s}
`})
	c.healthy(t)
	if text := c.stdout(t); !strings.Contains(text, "the memory limit of the control group (40 MiB) is enough for only 2048") {
		t.Errorf("the log does not tell: %s", text)
	}
	var many []net.Conn
	defer func() {
		for _, conn := range many {
			conn.Close()
		}
	}()
	err := c.within(func() error {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: waitLimit}
		for range 6000 {
			conn, err := from.Dial("tcp4", "127.0.0.1:10000")
			if err != nil {
				return fmt.Errorf("client %d: %w", len(many), err)
			}
			many = append(many, conn)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range many {
		conn.Close()
	}
	if code := c.exec(t, "greetprobe", "--quiet", "--wait", waitLimit.String(), "127.0.0.1", "10000"); code != 0 {
		t.Errorf("afterwards nobody is greeted: exit %d", code)
	}
	c.kill(t, unix.SIGTERM)
	if code := c.wait(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func (i *image) kubernetes(t *testing.T) {
	c := i.start(t, options{memory: 128 << 20, config: string(contents(t, "../../../deploy/kubernetes/greetd.yaml"))})
	c.healthy(t)
	if text := c.stdout(t); strings.Contains(text, `"level":"warning"`) {
		t.Errorf("it warns: %s", text)
	}
}

// options are what containers differ in.
type options struct {
	args   []string // instead of the image's
	env    []string
	config string // of /etc/greetd/greetd.yaml; "": there is none
	memory int64  // bytes; 0: no limit
}

// A container runs. Its root is read-only; it has no capability and a network of its own.
type container struct {
	dir    string   // what runc keeps, the bundle, and what the container prints
	config string   // the file that is mounted
	health []string // the image's health check
	id     string
	pid    int // of the first process
	runc   *exec.Cmd
}

// start starts the image. The container ends with the test.
func (i *image) start(t *testing.T, o options) *container {
	t.Helper()
	c := &container{dir: t.TempDir(), health: i.config.Healthcheck.Test[1:]}
	c.id = fmt.Sprintf("greetd-test-%d-%s", os.Getpid(), filepath.Base(filepath.Dir(c.dir)))
	c.config = filepath.Join(c.dir, "etc", "greetd.yaml")
	i.bundle(t, c, o)
	c.runc = exec.Command("runc", "--root", filepath.Join(c.dir, "runc"), "run", "--bundle", c.dir, "--pid-file", filepath.Join(c.dir, "pid"), c.id)
	for name, file := range map[string]*io.Writer{"stdout": &c.runc.Stdout, "stderr": &c.runc.Stderr} {
		f, err := os.Create(filepath.Join(c.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		*file = f
	}
	if err := c.runc.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.command("delete", "--force", c.id).Run()
		_ = c.runc.Wait()
		if t.Failed() {
			t.Logf("stdout: %s\nstderr: %s", c.stdout(t), c.stderr(t))
		}
	})
	return c
}

// bundle writes what runc needs, after the image's configuration.
func (i *image) bundle(t *testing.T, c *container, o options) {
	t.Helper()
	template := exec.Command("runc", "spec")
	template.Dir = c.dir
	output(t, template)
	file := filepath.Join(c.dir, "config.json")
	var spec struct {
		OCIVersion string         `json:"ociVersion"`
		Process    map[string]any `json:"process"`
		Root       map[string]any `json:"root"`
		Mounts     []any          `json:"mounts"`
		Linux      map[string]any `json:"linux"`
	}
	if err := json.Unmarshal(contents(t, file), &spec); err != nil {
		t.Fatal(err)
	}
	var uid, gid int
	if _, err := fmt.Sscanf(i.config.User, "%d:%d", &uid, &gid); err != nil {
		t.Fatal(err)
	}
	spec.Process["terminal"] = false
	spec.Process["user"] = map[string]int{"uid": uid, "gid": gid}
	spec.Process["args"] = i.config.Entrypoint
	if o.args != nil {
		spec.Process["args"] = o.args
	}
	spec.Process["env"] = append(slices.Clone(i.config.Env), o.env...)
	spec.Process["capabilities"] = map[string]any{}
	spec.Process["rlimits"] = []any{map[string]any{"type": "RLIMIT_NOFILE", "hard": 20000, "soft": 20000}}
	spec.Root = map[string]any{"path": i.root, "readonly": true}
	if o.config != "" {
		if err := os.Mkdir(filepath.Dir(c.config), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, c.config, o.config)
		// /etc is not there, and the root is read-only: as others do, runc makes it in
		// the image before it mounts.
		spec.Mounts = append(spec.Mounts, map[string]any{
			"destination": "/etc/greetd", "type": "bind", "source": filepath.Dir(c.config), "options": []string{"bind", "ro"},
		})
	}
	if o.memory > 0 {
		spec.Linux["resources"] = map[string]any{"memory": map[string]any{"limit": o.memory}}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(text))
}

func (c *container) command(args ...string) *exec.Cmd {
	return exec.Command("runc", append([]string{"--root", filepath.Join(c.dir, "runc")}, args...)...)
}

// exec runs a command in c, as health checks are run, and returns its exit code.
func (c *container) exec(t *testing.T, args ...string) int {
	t.Helper()
	cmd := c.command(append([]string{"exec", c.id}, args...)...)
	out, err := cmd.CombinedOutput()
	t.Logf("%s: %s", strings.Join(args, " "), out)
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// healthy waits until c is ready, and wants a good health check then.
func (c *container) healthy(t *testing.T) {
	t.Helper()
	c.await(t, "greetd is ready")
	if code := c.exec(t, c.health...); code != 0 {
		t.Fatalf("the health check ends with %d", code)
	}
}

// await waits until the log has the text, and then knows the first process.
func (c *container) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !strings.Contains(c.stdout(t), text) || !c.known(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log has no %q", text)
		}
	}
}

// known reports whether runc has told which process is the first.
func (c *container) known() bool {
	text, err := os.ReadFile(filepath.Join(c.dir, "pid"))
	if err != nil {
		return false
	}
	_, err = fmt.Sscan(string(text), &c.pid)
	return err == nil
}

func (c *container) kill(t *testing.T, signal unix.Signal) {
	t.Helper()
	output(t, c.command("kill", c.id, unix.SignalName(signal)))
}

// wait waits for c to end, and returns its exit code.
func (c *container) wait(t *testing.T) int {
	t.Helper()
	ended := time.AfterFunc(waitLimit, func() { _ = c.runc.Process.Kill() })
	defer ended.Stop()
	_ = c.runc.Wait()
	return c.runc.ProcessState.ExitCode()
}

func (c *container) stdout(t *testing.T) string {
	t.Helper()
	return string(contents(t, filepath.Join(c.dir, "stdout")))
}

func (c *container) stderr(t *testing.T) string {
	t.Helper()
	return string(contents(t, filepath.Join(c.dir, "stderr")))
}

// entries returns what is on stdout, which has to be a JSON object a line.
func (c *container) entries(t *testing.T) []map[string]any {
	t.Helper()
	var entries []map[string]any
	for line := range strings.Lines(c.stdout(t)) {
		if !strings.HasSuffix(line, "\n") {
			break // under way
		}
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		entries = append(entries, entry)
	}
	return entries
}

// dial connects from within c's network, for nothing else is connected to it.
func (c *container) dial(t *testing.T, address string) net.Conn {
	t.Helper()
	var conn net.Conn
	err := c.within(func() (err error) {
		conn, err = net.DialTimeout("tcp4", address, waitLimit)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// within runs f in c's network. What f opens stays there.
func (c *container) within(f func() error) error {
	answer := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends in that network
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.pid))
		if err == nil {
			defer namespace.Close()
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		answer <- err
	}()
	return <-answer
}

// read returns everything until the other side has ended.
func read(t *testing.T, conn net.Conn) string {
	t.Helper()
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, errs.Bytes())
	}
	return out
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
