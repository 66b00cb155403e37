package limits

import (
	"os"
	"runtime"
)

// UseCPUs makes Go run on one CPU where it would run on two, unless a listener has TLS:
// docs/decisions/one-of-two-cpus.md has why. With more CPUs, or one, Go has those of its
// control group, and GOMAXPROCS overrules all of this.
func UseCPUs(tls bool) {
	UseAllCPUs()
	if _, set := os.LookupEnv("GOMAXPROCS"); !set && runtime.GOMAXPROCS(0) == 2 && !tls {
		runtime.GOMAXPROCS(1)
	}
}

// UseAllCPUs is for work that clients must not wait for.
func UseAllCPUs() {
	if _, set := os.LookupEnv("GOMAXPROCS"); !set {
		runtime.SetDefaultGOMAXPROCS()
	}
}
