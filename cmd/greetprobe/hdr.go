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

// An hdrFile is a file with the times of a load, in a format of the tools of HdrHistogram. A nil hdrFile does
// nothing.
type hdrFile struct {
	file *os.File
	*bufio.Writer
	intervals bool // the format is a log with one interval a second; else percentiles
}

// createHDR creates or truncates the file at path. It returns nil if path is "".
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

// log returns the writer for an interval log; nil if the file has another format.
func (h *hdrFile) log() io.Writer {
	if h == nil || !h.intervals {
		return nil
	}
	return h
}

// finish writes the percentiles, if they are the format of the file, and closes the file.
func (h *hdrFile) finish(t *tally) error {
	if h == nil {
		return nil
	}
	err := t.course.err
	if !h.intervals {
		const ticksPerHalfDistance = 5 // the default of the tools of HdrHistogram
		_, err = t.latency.PercentilesPrint(h, ticksPerHalfDistance, float64(time.Millisecond))
	}
	if err := errors.Join(err, h.Flush(), h.file.Close()); err != nil {
		return fmt.Errorf("write histogram: %w", err)
	}
	return nil
}
