package drill

import "os/exec"

// Inflight returns wanted: Windows has no separate limit for one process.
func Inflight(wanted int) int { return wanted }

func separate(*exec.Cmd) {}

func interrupt(cmd *exec.Cmd) error { return cmd.Process.Kill() }

func killGroup(*exec.Cmd) {}
