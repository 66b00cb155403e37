package limits

import (
	"os"
	"runtime"
)

// UseCPUs makes Go use one CPU if it would use two, unless a listener has TLS; docs/decisions/one-of-two-cpus.md has
// the reason. With one CPU, or more than two, Go uses the CPUs of its control group. If GOMAXPROCS is set, UseCPUs
// does nothing.
func UseCPUs(tls bool) {
	UseAllCPUs()
	if _, set := os.LookupEnv("GOMAXPROCS"); !set && runtime.GOMAXPROCS(0) == 2 && !tls {
		runtime.GOMAXPROCS(1)
	}
}

// UseAllCPUs makes Go use all CPUs of its control group. Call it before work, such as a reload, that must not delay
// clients. If GOMAXPROCS is set, it does nothing.
func UseAllCPUs() {
	if _, set := os.LookupEnv("GOMAXPROCS"); !set {
		runtime.SetDefaultGOMAXPROCS()
	}
}
