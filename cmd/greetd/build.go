package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// buildInfo says which greetd this is.
type buildInfo struct {
	version   string
	commit    string // "" if it was built outside a repository
	goVersion string
}

// build reads what the go command wrote into the binary.
func build() buildInfo {
	b := buildInfo{version: "(devel)", goVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.version = cmp.Or(info.Main.Version, b.version)
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			b.commit = setting.Value
		}
	}
	return b
}
