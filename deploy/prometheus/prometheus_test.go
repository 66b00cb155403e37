// Package prometheus_test lets promtool look at the rules, and run their tests.
package prometheus_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"greetd.example/internal/test/debian"
)

func TestPromtool(t *testing.T) {
	promtool := debian.Program(t, "promtool", "prometheus")
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"}, // and the rules that it names
		{"test", "rules", "greetd.rules.test.yml"},
	} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// parse reads a file of YAML.
func parse(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestRulesOfTheOperator finds that make rules was forgotten.
func TestRulesOfTheOperator(t *testing.T) {
	made, err := exec.CommandContext(t.Context(), "sh", "../kubernetes/monitoring/rules.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("../kubernetes/monitoring/prometheusrule.yaml")
	if err != nil || string(kept) != string(made) {
		t.Errorf("deploy/kubernetes/monitoring/prometheusrule.yaml is not of these rules (%v): make rules", err)
	}
}

// TestEachRuleIsTestedAndExplained finds the alerts that no test makes fire; that each
// does not fire where nothing is wrong, one test has for all.
func TestEachRuleIsTestedAndExplained(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Record, Expr string
				For                 *string
				Labels, Annotations map[string]string
			}
		}
	}
	parse(t, "greetd.rules.yml", &rules)
	var tests struct {
		Tests []struct {
			Looks []struct {
				Expr    string
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	parse(t, "greetd.rules.test.yml", &tests)
	var fires, computes strings.Builder
	for _, test := range tests.Tests {
		for _, look := range test.Looks {
			computes.WriteString(look.Expr + "\n")
			for _, sample := range look.Samples {
				fires.WriteString(sample.Labels + "\n")
			}
		}
	}
	alerts := 0
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				if !strings.Contains(computes.String(), rule.Record) {
					t.Errorf("%s is not tested", rule.Record)
				}
				continue
			}
			alerts++
			if !strings.Contains(fires.String(), `alertname="`+rule.Alert+`"`) {
				t.Errorf("no test makes %s fire", rule.Alert)
			}
			if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
				t.Errorf("%s has the severity %q", rule.Alert, severity)
			}
			if rule.For == nil || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s lacks for, summary or description", rule.Alert)
			}
		}
	}
	if alerts < 10 {
		t.Errorf("only %d alerts were found", alerts)
	}
}
