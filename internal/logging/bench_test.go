package logging

import (
	"testing"

	"greetd.example/pkg/service"
)

// The benchmarks tell what a visitor pays for the log.

func BenchmarkLogged(b *testing.B) {
	o := defaults
	o.Rate = 0
	benchmark(b, o)
}

func BenchmarkSuppressed(b *testing.B) {
	o := defaults
	o.Rate, o.Burst = 1, 1
	benchmark(b, o)
}

func BenchmarkFiltered(b *testing.B) {
	o := defaults
	o.Visits = problems
	benchmark(b, o)
}

// benchmark logs greetings to /dev/null by way of stderr.
func benchmark(b *testing.B, o Options) {
	b.Helper()
	o.Output = toStderr
	l, err := open(o, newEnvironment(null(b), null(b)))
	if err != nil {
		b.Fatal(err)
	}
	v := visit(1, service.Greeted)
	b.ReportAllocs()
	for b.Loop() {
		l.Closed(v)
	}
	b.StopTimer()
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
