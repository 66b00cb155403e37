package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// An hdrFile takes the times of a load in a form that HdrHistogram's tools read. nil
// takes nothing.
type hdrFile struct {
	file *os.File
	*bufio.Writer
	intervals bool // a log second by second, else percentiles
}

// createHDR creates or empties the file. It is nil for no path.
func createHDR(path string) (*hdrFile, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write histogram: %w", err)
	}
	return &hdrFile{file, bufio.NewWriter(file), strings.HasSuffix(path, ".hlog")}, nil
}

// log is where to write a log second by second. It is nil if there is none.
func (h *hdrFile) log() io.Writer {
	if h == nil || !h.intervals {
		return nil
	}
	return h
}

// finish writes what is known only at the end, and closes the file.
func (h *hdrFile) finish(t *tally) error {
	if h == nil {
		return nil
	}
	err := t.course.err
	if !h.intervals {
		const ticksPerHalfDistance = 5 // as HdrHistogram's own tools
		_, err = t.latency.PercentilesPrint(h, ticksPerHalfDistance, float64(time.Millisecond))
	}
	if err := errors.Join(err, h.Flush(), h.file.Close()); err != nil {
		return fmt.Errorf("write histogram: %w", err)
	}
	return nil
}
