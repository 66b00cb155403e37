package logging

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/pkg/service"
)

// overLimit is an error as internal/access has it.
type overLimit struct {
	source netip.Prefix
	denied bool
}

func (o overLimit) Error() string                       { return "over the limit" }
func (o overLimit) LimitedSource() (netip.Prefix, bool) { return o.source, !o.denied }

func source(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

func TestSourceOverItsLimitIsLoggedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r repeats
		one := fmt.Errorf("refused: %w", overLimit{source: source(1)})
		logged := 0
		for range 600 { // a minute
			if !r.again(one) {
				logged++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if logged != 1 {
			t.Errorf("logged %d times in a minute, want once", logged)
		}
		if r.again(overLimit{source: source(2)}) {
			t.Error("another source is not logged")
		}
		for range 3 { // whenever it comes again
			time.Sleep(2 * repeatTime)
			if r.again(one) {
				t.Error("after a while it is not logged again")
			}
		}
	})
}

// The attempts of a source over its limit that have no entry are in the summary, a second later.
func TestRepeatsAreInTheSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, c := inMemory(t, defaults)
		v := visit(1, service.Refused)
		v.Err = overLimit{source: source(1)}
		l.Closed(v)
		if got := c.take(); len(got) != 1 || got[0]["GREETD_OUTCOME"] != "refused" {
			t.Errorf("got %v, want the first visit", got)
		}
		for range 9 {
			l.Closed(v)
		}
		time.Sleep(time.Second)
		if got := c.take(); len(got) != 1 || got[0]["GREETD_SUPPRESSED_REFUSED"] != "9" {
			t.Errorf("after a second %v, want a summary of the other nine", got)
		}
	})
}

func TestOtherErrorsAreLoggedEachTime(t *testing.T) {
	var r repeats
	for range 2 {
		for _, err := range []error{nil, errors.New("no TLS"), overLimit{source(1), true}} {
			if r.again(err) {
				t.Errorf("%v is logged once only", err)
			}
		}
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	var r repeats
	for i := range 10 * mostRepeats {
		r.again(overLimit{source: source(i)})
	}
	if n := len(r.current) + len(r.previous); n > 2*mostRepeats {
		t.Errorf("%d sources are remembered, want at most %d", n, 2*mostRepeats)
	}
}
