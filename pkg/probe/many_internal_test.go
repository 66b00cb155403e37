package probe

import (
	"os"
	"syscall"
	"testing"
)

// An address of a name that ran out of descriptors is probed again: its result is not there yet.
func TestAddressIsProbedAgainForWantOfDescriptors(t *testing.T) {
	n := &name{results: make([]Result, 2), left: 2}
	c := batch{Many: &Many{}, limit: 2, running: 2, names: []*name{n}}
	nothing := func(r Result) { t.Errorf("reported: %s %v", r.Status, r.Err) }
	short := Result{Status: LocalError, Err: os.NewSyscallError("socket", syscall.EMFILE)}
	c.end(answered{job: job{of: n, index: 1}, results: []Result{short}}, nothing)
	if len(c.again) != 1 || c.again[0].of != n || c.again[0].index != 1 || n.left != 2 || c.limit != 1 {
		t.Fatalf("again: %+v, %d addresses left, at most %d at once", c.again, n.left, c.limit)
	}

	// With nothing else running there are no more descriptors to wait for: then it is the result.
	c.end(answered{job: job{of: n, index: 1}, results: []Result{short}}, nothing)
	reported := 0
	c.end(answered{job: job{of: n, index: 0}, results: []Result{{Status: OK}}}, func(Result) { reported++ })
	if reported != 2 || len(c.names) != 0 {
		t.Errorf("%d results reported, %d names left; want both results of the one name", reported, len(c.names))
	}
}
