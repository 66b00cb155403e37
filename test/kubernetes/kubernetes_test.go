// Package kubernetes holds deploy/kubernetes against the types of the Kubernetes API, the
// restricted Pod Security Standard, and the programs that it runs. It is a module of its
// own, for greetd itself needs nothing of Kubernetes.
package kubernetes

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/intstr"
	security "k8s.io/pod-security-admission/api"
	standard "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const manifests = "../../deploy/kubernetes"

// A cluster is what kubectl apply would be sent: one object of each kind.
type cluster struct {
	namespace  core.Namespace
	config     core.ConfigMap
	deployment apps.Deployment
	service    core.Service
	budget     policy.PodDisruptionBudget
	scaler     autoscaling.HorizontalPodAutoscaler
	network    networking.NetworkPolicy

	monitor *monitoring.PodMonitor // nil without the component monitoring
	rules   *monitoring.PrometheusRule
}

// render returns what kustomize makes of a folder. What the API doesn't know, a field for
// one, is an error.
func render(t *testing.T, dir string) *cluster {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	c := new(cluster)
	kinds := map[string]runtime.Object{
		"Namespace": &c.namespace, "ConfigMap": &c.config, "Deployment": &c.deployment, "Service": &c.service,
		"PodDisruptionBudget": &c.budget, "HorizontalPodAutoscaler": &c.scaler, "NetworkPolicy": &c.network,
	}
	if slices.ContainsFunc(built.Resources(), func(r *resource.Resource) bool { return r.GetKind() == "PodMonitor" }) {
		c.monitor, c.rules = new(monitoring.PodMonitor), new(monitoring.PrometheusRule)
		kinds["PodMonitor"], kinds["PrometheusRule"] = c.monitor, c.rules
	}
	for _, resource := range built.Resources() {
		object, ok := kinds[resource.GetKind()]
		if !ok {
			t.Fatalf("a %s too many: %s", resource.GetKind(), resource.GetName())
		}
		delete(kinds, resource.GetKind())
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		decode(t, text, object)
		if name := resource.GetNamespace(); name != "greetd" && resource.GetKind() != "Namespace" {
			t.Errorf("the %s is in the namespace %q", resource.GetKind(), name)
		}
	}
	for kind := range kinds {
		t.Errorf("there is no %s", kind)
	}
	if t.Failed() {
		t.FailNow()
	}
	return c
}

// decode reads text into object, as an API server does that is told to be strict.
func decode(t *testing.T, text []byte, object runtime.Object) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, autoscaling.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme, monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	strict := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme, serializer.SerializerOptions{Yaml: true, Strict: true})
	if _, _, err := strict.Decode(text, nil, object); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func (c *cluster) pod() *core.PodSpec { return &c.deployment.Spec.Template.Spec }

func (c *cluster) container() *core.Container { return &c.pod().Containers[0] }

// port returns the number of the container's port.
func (c *cluster) port(t *testing.T, name string) int32 {
	t.Helper()
	for _, port := range c.container().Ports {
		if port.Name == name {
			return port.ContainerPort
		}
	}
	t.Fatalf("the container has no port %q", name)
	return 0
}

// TestPodSecurity asks the admission plugin's own rules whether the namespace lets the pod
// in, and whether they would notice.
func TestPodSecurity(t *testing.T) {
	c := render(t, manifests)
	latest := security.LevelVersion{Level: security.LevelPrivileged, Version: security.LatestVersion()}
	level, errs := security.PolicyToEvaluate(c.namespace.Labels, security.Policy{Enforce: latest, Audit: latest, Warn: latest})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for name, l := range map[string]security.LevelVersion{"enforce": level.Enforce, "audit": level.Audit, "warn": level.Warn} {
		if l.Level != security.LevelRestricted {
			t.Errorf("%s: %v", name, l)
		}
	}
	rules, err := standard.NewEvaluator(standard.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	result := func() standard.AggregateCheckResult {
		return standard.AggregateCheckResults(rules.EvaluatePod(level.Enforce, &c.deployment.Spec.Template.ObjectMeta, c.pod()))
	}
	if v := result(); !v.Allowed {
		t.Errorf("the pod is not let in: %s", v.ForbiddenDetail())
	}
	if on := c.container().SecurityContext.ReadOnlyRootFilesystem; on == nil || !*on {
		t.Error("the root file system can be written to")
	}
	if on := c.pod().AutomountServiceAccountToken; on == nil || *on {
		t.Error("the pod has a token for the API")
	}
	c.container().SecurityContext.Capabilities.Drop = nil
	if result().Allowed {
		t.Error("capabilities would go unnoticed")
	}
}

// TestSelectors holds every selector against the pod.
func TestSelectors(t *testing.T) {
	c := render(t, manifests)
	spread := c.pod().TopologySpreadConstraints
	if len(spread) != 2 {
		t.Errorf("%d constraints of the spread, want that of the nodes and that of the zones", len(spread))
	}
	selectors := map[string]*meta.LabelSelector{
		"Deployment":          c.deployment.Spec.Selector,
		"Service":             {MatchLabels: c.service.Spec.Selector},
		"PodDisruptionBudget": c.budget.Spec.Selector,
		"NetworkPolicy":       &c.network.Spec.PodSelector,
	}
	for _, s := range spread {
		selectors[s.TopologyKey] = s.LabelSelector
	}
	for of, s := range selectors {
		selector, err := meta.LabelSelectorAsSelector(s)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(c.deployment.Spec.Template.Labels)) {
			t.Errorf("%s: %v does not select the pod (%v)", of, selector, err)
		}
	}
	target := c.scaler.Spec.ScaleTargetRef
	if target.Kind != "Deployment" || target.APIVersion != "apps/v1" || target.Name != c.deployment.Name {
		t.Errorf("the HorizontalPodAutoscaler scales %v", target)
	}
	if c.deployment.Spec.Replicas != nil {
		t.Error("the Deployment sets the number of pods, which is the HorizontalPodAutoscaler's")
	}
	if _, set := c.container().Resources.Requests[core.ResourceCPU]; !set {
		t.Error("utilization is of a request that is not there")
	}
	if least := int(*c.scaler.Spec.MinReplicas); c.budget.Spec.MaxUnavailable.IntValue() != 1 || least < 2 {
		t.Errorf("%v may be away, of %d", c.budget.Spec.MaxUnavailable, least)
	}
}

// TestClientsKeepTheirAddress is what the Service is for.
func TestClientsKeepTheirAddress(t *testing.T) {
	c := render(t, manifests)
	if c.service.Spec.Type != core.ServiceTypeLoadBalancer || c.service.Spec.ExternalTrafficPolicy != core.ServiceExternalTrafficPolicyLocal {
		t.Errorf("%s with externalTrafficPolicy %s", c.service.Spec.Type, c.service.Spec.ExternalTrafficPolicy)
	}
}

// settings are what greetd makes of the configuration, as far as the manifests rely on it.
type settings struct {
	Listeners []struct{ Name, Address string }
	Timeouts  struct{ Drain string }
	Admin     struct{ Address string }
}

// TestConfiguration asks greetd itself what it thinks of the ConfigMap, and holds ports and
// times against the answer.
func TestConfiguration(t *testing.T) {
	c := render(t, manifests)
	greetd, _ := programs(t)
	file := c.write(t)
	if out, err := command(greetd, "check", "--config", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := command(greetd, "config", "--config", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var s settings
	if err := yaml.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}

	for address, port := range map[string]string{s.Listeners[0].Address: "greet", s.Admin.Address: "metrics"} {
		if want := fmt.Sprintf(":%d", c.port(t, port)); address != want {
			t.Errorf("greetd has %s for the port %s, the container %s", address, port, want)
		}
	}
	if ports := c.service.Spec.Ports; len(ports) != 1 || ports[0].TargetPort != intstr.FromString("greet") || ports[0].Port != c.port(t, "greet") {
		t.Errorf("the Service leads to %v", ports)
	}
	if got, want := c.deployment.Spec.Template.Annotations["prometheus.io/port"], strconv.Itoa(int(c.port(t, "metrics"))); got != want {
		t.Errorf("Prometheus is led to port %q, want %s", got, want)
	}
	rules := c.network.Spec.Ingress
	if len(rules) != 2 || *rules[0].Ports[0].Port != intstr.FromString("greet") || len(rules[0].From) != 0 ||
		*rules[1].Ports[0].Port != intstr.FromString("metrics") || len(rules[1].From) != 1 ||
		len(c.network.Spec.Egress) != 0 || !slices.Contains(c.network.Spec.PolicyTypes, networking.PolicyTypeEgress) {
		t.Errorf("the NetworkPolicy is %v", c.network.Spec)
	}

	drain, err := time.ParseDuration(s.Timeouts.Drain)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Duration(c.container().Lifecycle.PreStop.Sleep.Seconds) * time.Second
	whole := time.Duration(*c.pod().TerminationGracePeriodSeconds) * time.Second
	if before == 0 || whole < before+drain+5*time.Second {
		t.Errorf("a pod has %v to end, which takes %v and %v, and some more", whole, before, drain)
	}
	mounted := c.container().VolumeMounts[0]
	if volume := c.pod().Volumes[0]; volume.ConfigMap.Name != c.config.Name || volume.Name != mounted.Name || mounted.MountPath != "/etc/greetd" {
		t.Errorf("the ConfigMap is %s, the pod mounts %s at %s", c.config.Name, volume.ConfigMap.Name, mounted.MountPath)
	}
}

// TestProbes runs each probe's command beside a greetd that greets, and beside none.
func TestProbes(t *testing.T) {
	c := render(t, manifests)
	greetd, greetprobe := programs(t)
	port := freePort(t)
	daemon := command(greetd, "--listen", "127.0.0.1:"+port)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	if out, err := command(greetprobe, "--wait", "1m", "127.0.0.1", port).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	probes := map[string]*core.Probe{
		"startup": c.container().StartupProbe, "readiness": c.container().ReadinessProbe, "liveness": c.container().LivenessProbe,
	}
	for name, probe := range probes {
		t.Run(name, func(t *testing.T) {
			words := slices.Clone(probe.Exec.Command)
			last := len(words) - 1
			if words[0] != "greetprobe" || words[last] != strconv.Itoa(int(c.port(t, "greet"))) {
				t.Fatalf("%q asks somebody else", words)
			}
			timeout := slices.Index(words, "--timeout")
			if took, err := time.ParseDuration(words[timeout+1]); err != nil || took >= time.Duration(probe.TimeoutSeconds)*time.Second {
				t.Errorf("%q has %d s (%v): nobody hears why it failed", words, probe.TimeoutSeconds, err)
			}
			words[last] = port
			if out, err := command(greetprobe, words[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v: %s", words, err, out)
			}
			words[last] = freePort(t)
			if out, err := command(greetprobe, words[1:]...).CombinedOutput(); err == nil {
				t.Errorf("%q is content with nobody: %s", words, out)
			}
		})
	}
}

// TestOverlay builds the overlay that README.md shows, and sees a new
// configuration roll out.
func TestOverlay(t *testing.T) {
	base := render(t, manifests)
	dir := filepath.Join(t.TempDir(), "overlay")
	if err := os.CopyFS(filepath.Join(filepath.Dir(dir), "kubernetes"), os.DirFS(manifests)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(manifests, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var overlay strings.Builder
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "    "); ok && !strings.HasPrefix(rest, "kubectl") {
			overlay.WriteString(rest)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"kustomization.yaml": overlay.String(), "greetd.yaml": "greeting: \"hi\\n\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := render(t, dir)
	if c.monitor != nil || c.deployment.Spec.Template.Annotations["prometheus.io/scrape"] != "true" {
		t.Error("without the component monitoring, Prometheus should know the pods by annotations")
	}
	if c.container().Image != "registry.internal/greetd:v1.2.3" {
		t.Errorf("image %s", c.container().Image)
	}
	if mounted := c.pod().Volumes[0].ConfigMap.Name; mounted != c.config.Name || mounted == base.config.Name {
		t.Errorf("the ConfigMap is %s, the pod mounts %s, and before %s", c.config.Name, mounted, base.config.Name)
	}
	if c.config.Data["greetd.yaml"] != "greeting: \"hi\\n\"\n" {
		t.Errorf("the configuration is %q", c.config.Data)
	}
}

// TestMonitoring builds an overlay with the component for the Prometheus Operator, as README.md says.
func TestMonitoring(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	if err := os.CopyFS(filepath.Join(filepath.Dir(dir), "kubernetes"), os.DirFS(manifests)); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(manifests, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	const line = "components: [../kubernetes/monitoring]"
	if !strings.Contains(string(readme), "`"+line+"`") {
		t.Errorf("README.md does not say %s", line)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: [../kubernetes]\n"+line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := render(t, dir)
	if c.monitor == nil || c.rules == nil {
		t.Fatal("there is no PodMonitor or no PrometheusRule")
	}
	if selected, err := meta.LabelSelectorAsSelector(&c.monitor.Spec.Selector); err != nil || !selected.Matches(labels.Set(c.deployment.Spec.Template.Labels)) {
		t.Errorf("the PodMonitor selects %v (%v), the pods have %v", selected, err, c.deployment.Spec.Template.Labels)
	}
	if len(c.monitor.Spec.PodMetricsEndpoints) != 1 || c.port(t, *c.monitor.Spec.PodMetricsEndpoints[0].Port) != 9180 {
		t.Errorf("the PodMonitor scrapes %+v", c.monitor.Spec.PodMetricsEndpoints)
	}
	if c.monitor.Namespace+"/"+c.monitor.Name != "greetd/greetd" { // the job that the rules know
		t.Errorf("the PodMonitor is %s/%s", c.monitor.Namespace, c.monitor.Name)
	}
	if a := c.deployment.Spec.Template.Annotations; a["prometheus.io/scrape"] != "" {
		t.Errorf("pods would be scraped twice: %v", a)
	}
	if len(c.rules.Spec.Groups) < 3 {
		t.Errorf("the PrometheusRule has %d groups", len(c.rules.Spec.Groups))
	}
}

// write writes the configuration of the ConfigMap to a file.
func (c *cluster) write(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "greetd.yaml")
	if err := os.WriteFile(file, []byte(c.config.Data["greetd.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// programs returns greetd and greetprobe as make build made them just now.
func programs(t *testing.T) (greetd, greetprobe string) {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "greetd"), filepath.Join(dir, "greetprobe")
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("make", "-C", "../..", "build").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return dir, nil
})

// command has no environment: what it does must not depend on ours.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return cmd
}

// freePort returns a port of 127.0.0.1 that nobody uses.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
