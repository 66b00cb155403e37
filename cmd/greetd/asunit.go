//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"greetd.example/internal/unit"
	"greetd.example/pkg/systemd"
)

// asUnitTimeout is the maximum time for an examination in the sandbox of the unit.
const asUnitTimeout = 30 * time.Second

// examineAsMeant examines the configuration as the unit of the daemon sees it. With here, or if that is
// not possible, it examines it as this process sees it; in the second case it prints a note on stderr.
func (p *program) examineAsMeant(ctx context.Context, here bool) (examination, error) {
	if !here {
		p.inferInstance(ctx)
	}
	name := p.instance.unit() + ".service"
	if here || systemd.Unit() == name {
		return examine(p.sourceOfUnit()), nil
	}
	text, whyNot := unitText(ctx, name)
	var e examination
	if whyNot != "" {
		fmt.Fprintf(p.stderr, "greetd: note: this is what user %d sees, not what %s would: %s\n", os.Geteuid(), name, whyNot)
		e = examine(p.sourceOfUnit())
	} else {
		var err error
		if e, err = p.examineAs(ctx, text); err != nil {
			return e, err
		}
	}
	e.holdAgainst(ctx, name)
	return e, nil
}

// inferInstance sets the instance to NAME if --config is the file of greetd@NAME, and this unit is enabled
// or has been started.
func (p *program) inferInstance(ctx context.Context) {
	name, isInstance := strings.CutPrefix(absolute(p.source.Path), "/etc/greetd/")
	name, isYAML := strings.CutSuffix(name, ".yaml")
	var inferred instance
	if p.instance != "" || !isInstance || !isYAML || name == "greetd" || inferred.Set(name) != nil {
		return
	}
	if systemd.Unit() == inferred.unit()+".service" { // in the sandbox of the unit, systemctl can't be executed
		p.instance = inferred
		return
	}
	for _, state := range []string{"is-enabled", "is-active", "is-failed"} {
		if exec.CommandContext(ctx, "systemctl", "--quiet", state, inferred.unit()+".service").Run() == nil {
			p.instance = inferred
		}
	}
}

// unitText returns the text of the unit with its drop-ins, or the reason why it can't be started.
func unitText(ctx context.Context, name string) (text, whyNot string) {
	if !unit.Booted() {
		return "", "systemd does not run here"
	}
	out, err := exec.CommandContext(ctx, "systemctl", "cat", "--no-pager", name).Output()
	if err != nil {
		return "", "that unit is not installed"
	}
	if !strings.Contains(string(out), "[Service]") {
		return "", "that unit is masked"
	}
	if os.Geteuid() != 0 {
		return "", "only root can start it"
	}
	return string(out), ""
}

// notForExamine are the settings of a unit that an examination must not have: they start other programs,
// make the process known to others, or are only for the daemon.
var notForExamine = []string{
	"BusName", "ExecCondition", "ExecReload", "ExecStart", "ExecStartPost", "ExecStartPre", "ExecStop", "ExecStopPost",
	"FileDescriptorStoreMax", "FileDescriptorStorePreserve", "NotifyAccess", "PIDFile", "RemainAfterExit", "Restart",
	"RestartForceExitStatus", "RestartMaxDelaySec", "RestartMode", "RestartSec", "RestartSteps", "RuntimeDirectory", "RuntimeMaxSec", "Sockets",
	"StandardError", "StandardInput", "StandardOutput", "SuccessExitStatus", "TimeoutSec", "TimeoutStartSec", "Type", "WatchdogSec",
}

// examineCommandLine returns command, ExecStart= of a unit, with the sub-command examine instead of serve. It
// returns "" if the unit does not start greetd itself.
func examineCommandLine(command, config string) string {
	words := strings.Fields(command)
	if len(words) == 0 || filepath.Base(strings.TrimLeft(words[0], "@-:+!")) != "greetd" || strings.HasPrefix(words[0], "@") {
		return ""
	}
	arguments := words[1:]
	if len(arguments) > 0 && arguments[0] == "serve" {
		arguments = arguments[1:]
	}
	line := words[0] + " " + examineName + " " + strings.Join(arguments, " ")
	if config != "" {
		line += ` --config "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(config) + `"`
	}
	return line
}

// examineAs runs the command examine in a temporary unit with the user, environment, credentials and sandbox
// of the unit with this text. systemd itself reads the settings, so that those of every version of systemd
// have their effect.
func (p *program) examineAs(ctx context.Context, text string) (e examination, err error) {
	ctx, cancel := context.WithTimeout(ctx, asUnitTimeout)
	defer cancel()
	directory, err := os.MkdirTemp("/run", "greetd-check-")
	if err != nil {
		return e, fmt.Errorf("check as the unit would: %w; use --here", err)
	}
	defer os.RemoveAll(directory)
	name := filepath.Base(directory)
	if p.instance != "" {
		name += "@" + string(p.instance) // for %i
	}
	name += ".service"

	config := p.source.Path
	if config != "" {
		config = absolute(config)
	}
	settings := unit.Parse(text, "Service")
	command := examineCommandLine(settings.Last("ExecStart"), config)
	if command == "" {
		return e, fmt.Errorf("check as the unit would: its ExecStart=%s is not greetd itself; use --here", settings.Last("ExecStart"))
	}
	file := filepath.Join("/run/systemd/system", name)
	lines := []string{"[Unit]", "Description=greetd check", "[Service]"}
	for _, setting := range settings {
		if !slices.Contains(notForExamine, setting.Name) {
			lines = append(lines, setting.Name+"="+setting.Value)
		}
	}
	lines = append(lines, "Type=oneshot", "Restart=no", "TimeoutStartSec=20s", "StandardInput=null",
		"StandardOutput=file:"+directory+"/stdout", "StandardError=file:"+directory+"/stderr", "ExecStart="+command, "")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		return e, fmt.Errorf("check as the unit would: %w; use --here", err)
	}
	defer func() {
		_ = os.Remove(file)
		_ = exec.Command("systemctl", "reset-failed", name).Run() //nolint:noctx // also when ctx has ended
	}()
	_ = exec.CommandContext(ctx, "systemctl", "start", name).Run() // the result is in the files
	stdout, _ := os.ReadFile(filepath.Join(directory, "stdout"))
	if err := json.Unmarshal(stdout, &e); err != nil {
		return e, p.whyNotExamined(ctx, name, directory)
	}
	return e, nil
}

// whyNotExamined returns the reasons why the temporary unit could not examine the configuration.
func (p *program) whyNotExamined(ctx context.Context, name, directory string) error {
	stderr, _ := os.ReadFile(filepath.Join(directory, "stderr"))
	status, _ := exec.CommandContext(ctx, "systemctl", "show", "--property=Result,ExecMainStatus", name).Output()
	log, _ := exec.CommandContext(ctx, "journalctl", "--quiet", "--no-pager", "--output=cat", "--unit="+name).Output()
	problems := []error{fmt.Errorf("%s.service can't start greetd here: %s; without the unit: --here",
		p.instance.unit(), strings.Join(strings.Fields(string(status)), " "))}
	for line := range strings.Lines(string(stderr) + string(log)) {
		if line = strings.TrimSpace(line); strings.Contains(line, ":") && !strings.Contains(line, "Deactivated") {
			problems = append(problems, errors.New(strings.ReplaceAll(line, name, p.instance.unit()+".service")))
		}
	}
	return errors.Join(problems...)
}
