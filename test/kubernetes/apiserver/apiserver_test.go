// Package apiserver applies deploy/kubernetes to a real kube-apiserver, whose admission refuses
// pods that are not restricted. There are no nodes and no controllers: no pod runs. It is a module
// of its own because kube-apiserver takes long to compile: make apiserver builds and runs it.
package apiserver

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	manifests = "../../../deploy/kubernetes"
	programs  = "../../../.cache/bin" // make apiserver builds them
	crds      = "../../../.cache/crd"
)

// An object is one of the API, as JSON.
type object struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       map[string]any `json:"spec"`
}

// TestManifests applies everything that we ship to one server.
func TestManifests(t *testing.T) {
	c := start(t)
	c.ok(t, "", "apply", "--server-side", "-f", manifests+"/namespace.yaml")
	c.ok(t, "", "create", "serviceaccount", "default", "-n", "greetd") // as a controller would
	c.ok(t, "", "create", "-f", crds+"/monitoring.coreos.com_podmonitors.yaml", "-f", crds+"/monitoring.coreos.com_prometheusrules.yaml")
	c.ok(t, "", "wait", "--for=condition=Established", "--timeout=1m", "crd", "--all")

	monitored := overlay(t, "resources: [../kubernetes]\ncomponents: [../kubernetes/monitoring]\n")
	t.Run("dry run", func(t *testing.T) {
		files, err := filepath.Glob(manifests + "/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		component, err := filepath.Glob(manifests + "/monitoring/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		applied := 0
		for _, file := range slices.Concat(files, component) {
			if base := filepath.Base(file); base == "kustomization.yaml" || base == "greetd.yaml" {
				continue // kustomize reads these
			}
			c.ok(t, "", dryRun("-n", "greetd", "-f", file)...)
			applied++
		}
		if applied < 8 {
			t.Errorf("applied %d files, want those of deploy/kubernetes and deploy/kubernetes/monitoring", applied)
		}
		c.ok(t, "", dryRun("-k", manifests)...)
		out := c.ok(t, "", dryRun("-k", monitored)...)
		for _, kind := range []string{
			"namespace/", "configmap/", "service/", "deployment.apps/", "poddisruptionbudget.policy/", "horizontalpodautoscaler.autoscaling/",
			"networkpolicy.networking.k8s.io/", "podmonitor.monitoring.coreos.com/", "prometheusrule.monitoring.coreos.com/",
		} {
			if !strings.Contains(out, kind) {
				t.Errorf("did not apply a %s:\n%s", kind, out)
			}
		}
	})

	// What README.md says to do. What the server then has is what the manifests say.
	t.Run("apply", func(t *testing.T) {
		c.ok(t, "", "apply", "set-last-applied", "--create-annotation", "-f", manifests+"/namespace.yaml")
		for _, dir := range []string{monitored, manifests} {
			c.ok(t, "", "apply", "-k", dir)
			if difference := c.ok(t, "", "diff", "-k", dir); difference != "" {
				t.Errorf("kubectl diff: %s", difference)
			}
		}
	})

	pod := c.pod(t)
	t.Run("pods", func(t *testing.T) { testPods(t, c, pod) })
	t.Run("mistakes", func(t *testing.T) { testMistakes(t, c) })
}

// testPods creates the pod of the Deployment, and others that are not restricted.
func testPods(t *testing.T, c *cluster, pod string) {
	t.Helper()
	c.ok(t, pod, "create", "-f", "-")
	const violates = `violates PodSecurity "restricted:latest"`
	for name, tt := range map[string]struct{ patch, want string }{
		"root":                 {`{"op": "replace", "path": "/spec/securityContext/runAsUser", "value": 0}`, "runAsUser=0"},
		"perhaps root":         {`{"op": "remove", "path": "/spec/securityContext/runAsNonRoot"}`, "runAsNonRoot != true"},
		"network of the node":  {`{"op": "add", "path": "/spec/hostNetwork", "value": true}`, "host namespaces"},
		"capability":           {`{"op": "add", "path": "/spec/containers/0/securityContext/capabilities/add", "value": ["SYS_ADMIN"]}`, "SYS_ADMIN"},
		"all capabilities":     {`{"op": "remove", "path": "/spec/containers/0/securityContext/capabilities"}`, "unrestricted capabilities"},
		"set-user-ID programs": {`{"op": "remove", "path": "/spec/containers/0/securityContext/allowPrivilegeEscalation"}`, "allowPrivilegeEscalation != false"},
		"every system call":    {`{"op": "remove", "path": "/spec/securityContext/seccompProfile"}`, "seccompProfile"},
		"files of the node":    {`{"op": "add", "path": "/spec/volumes/-", "value": {"name": "node", "hostPath": {"path": "/"}}}`, "hostPath"},
	} {
		t.Run(name, func(t *testing.T) {
			rename := `{"op": "replace", "path": "/metadata/name", "value": "other"}`
			changed := c.ok(t, pod, "patch", "--local", "-f", "-", "-o", "json", "--type=json", "-p", "["+rename+","+tt.patch+"]")
			c.refused(t, changed, []string{violates, tt.want}, "create", "-f", "-")
			// A Deployment is not refused, but the server warns: that it does not warn about ours means something.
			template := `[` + strings.Replace(tt.patch, `"path": "`, `"path": "/spec/template`, 1) + `]`
			_, stderr, err := c.kubectl("", "patch", "deployment", "greetd", "-n", "greetd", "--dry-run=server", "--type=json", "-p", template)
			if err != nil || !strings.Contains(stderr, "Warning: would violate PodSecurity") || !strings.Contains(stderr, tt.want) {
				t.Errorf("as a Deployment: %v, want a warning about %s:\n%s", err, tt.want, stderr)
			}
		})
	}
}

// testMistakes sees the server find what is wrong in manifests.
func testMistakes(t *testing.T, c *cluster) {
	t.Helper()
	unknown := []string{"field not declared in schema"}
	for name, tt := range map[string]struct {
		file, patch string
		want        []string
	}{
		"unknown field":          {"deployment.yaml", `{"op": "add", "path": "/spec/replicaz", "value": 3}`, unknown},
		"unknown field of a pod": {"deployment.yaml", `{"op": "add", "path": "/spec/template/spec/hostNet", "value": true}`, unknown},
		"selector without pod": {
			"deployment.yaml", `{"op": "replace", "path": "/spec/selector/matchLabels", "value": {"app": "x"}}`,
			[]string{"`selector` does not match template `labels`"},
		},
		"no such port": {"service.yaml", `{"op": "replace", "path": "/spec/ports/0/port", "value": 100000}`, []string{"must be between 1 and 65535"}},
		"no such time": {
			"monitoring/prometheusrule.yaml", `{"op": "add", "path": "/spec/groups/0/interval", "value": "soon"}`, []string{"interval", "should match"},
		},
		"unknown field of a monitor": {"monitoring/podmonitor.yaml", `{"op": "add", "path": "/spec/endpoints", "value": []}`, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(manifests, tt.file)
			changed := c.ok(t, "", "patch", "--local", "-f", file, "-o", "json", "--type=json", "-p", "["+tt.patch+"]")
			c.refused(t, changed, tt.want, dryRun("-n", "greetd", "-f", "-")...)
		})
	}
}

// dryRun returns the arguments of a server-side dry run that accepts no unknown field.
func dryRun(args ...string) []string {
	return append([]string{"apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts"}, args...)
}

// overlay returns a directory with a copy of the manifests beside it, and this kustomization.yaml.
func overlay(t *testing.T, kustomization string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "kubernetes"), os.DirFS(manifests)); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "overlay")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "kustomization.yaml"), kustomization)
	return dir
}

// pod returns a Pod made of the template of the Deployment that the server has.
func (c *cluster) pod(t *testing.T) string {
	t.Helper()
	var deployment struct {
		Spec struct{ Template object }
	}
	if err := json.Unmarshal([]byte(c.ok(t, "", "get", "deployment", "greetd", "-n", "greetd", "-o", "json")), &deployment); err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template
	pod.APIVersion, pod.Kind = "v1", "Pod"
	pod.Metadata["name"], pod.Metadata["namespace"] = "greetd", "greetd"
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A cluster is an API server with its etcd.
type cluster struct{ kubeconfig string }

// start starts both on loopback, and waits until the API server is ready. They end with the test.
func start(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	accounts, certificates, tokens := filepath.Join(dir, "accounts.key"), filepath.Join(dir, "certificates"), filepath.Join(dir, "tokens")
	write(t, accounts, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	token := rand.Text()
	write(t, tokens, token+",admin,admin,system:masters\n")

	clients, peers, address := "http://"+freeAddress(t), "http://"+freeAddress(t), freeAddress(t)
	etcd := run(t, "etcd", "--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	_, port, _ := net.SplitHostPort(address)
	server := run(t, "kube-apiserver", "--etcd-servers="+clients,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+port, "--endpoint-reconciler-type=none",
		"--cert-dir="+certificates, "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+accounts,
		"--service-account-signing-key-file="+accounts, "--service-cluster-ip-range=10.0.0.0/24,fd00::/112")

	c := &cluster{kubeconfig: filepath.Join(dir, "kubeconfig")}
	write(t, c.kubeconfig, fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://%s", certificate-authority: %s/apiserver.crt}}]
users: [{name: admin, user: {token: %s}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
`, address, certificates, token))
	again, deadline := time.NewTicker(500*time.Millisecond), time.After(5*time.Minute)
	defer again.Stop()
	for {
		_, stderr, err := c.kubectl("", "get", "--raw=/readyz")
		if err == nil {
			t.Log(c.ok(t, "", "version"))
			return c
		}
		select {
		case <-again.C:
		case <-etcd.done:
			t.Fatal("etcd stopped")
		case <-server.done:
			t.Fatal("kube-apiserver stopped")
		case <-deadline:
			t.Fatalf("kube-apiserver is not ready after five minutes: %s", stderr)
		}
	}
}

// A process is one that the test has started. done is closed when it has ended.
type process struct{ done chan struct{} }

// run starts one of the programs. The test ends it, and prints its last lines if the test fails.
func run(t *testing.T, name string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(programs, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with a test that is killed
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; make apiserver builds it", err)
	}
	p := &process{done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }() // Cleanup waits for it
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the last lines of %s:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
	return p
}

// kubectl runs a command with input at its standard input.
func (c *cluster) kubectl(input string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(filepath.Join(programs, "kubectl"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(c.kubeconfig), "KUBECONFIG=" + c.kubeconfig}
	cmd.Stdin = strings.NewReader(input)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}

// ok runs a command that must succeed without a warning, and returns what it prints.
func (c *cluster) ok(t *testing.T, input string, args ...string) string {
	t.Helper()
	stdout, stderr, err := c.kubectl(input, args...)
	if err != nil || stderr != "" {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// refused runs a command that must fail, with each of want in the server's reason.
func (c *cluster) refused(t *testing.T, input string, want []string, args ...string) {
	t.Helper()
	stdout, stderr, err := c.kubectl(input, args...)
	if err == nil {
		t.Fatalf("kubectl %s succeeded: %s", strings.Join(args, " "), stdout)
	}
	for _, words := range want {
		if !strings.Contains(stderr, words) {
			t.Errorf("kubectl %s: want %q in\n%s", strings.Join(args, " "), words, stderr)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddress returns an address of loopback with a port that nobody uses.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
