// Package build returns the version of the running program.
package build

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// Info has the version that the go command has written into the program.
type Info struct {
	Version   string
	Commit    string // "" if it was built outside a repository
	GoVersion string
}

// Read returns the Info of the running program.
func Read() Info {
	b := Info{Version: "(devel)", GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(info.Main.Version, b.Version)
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			b.Commit = setting.Value
		}
	}
	return b
}
