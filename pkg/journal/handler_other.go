//go:build !linux

package journal

import (
	"context"
	"log/slog"
)

// A Handler is a [slog.Handler] to stderr: there is no journal on this system. Unlike on
// Linux, it may block.
type Handler struct {
	level slog.Leveler
	slog.Handler
}

// NewHandler returns a Handler to stderr.
func NewHandler(o HandlerOptions) (*Handler, error) {
	o = o.withDefaults()
	return &Handler{o.Level, o.Fallback(o.Stderr)}, nil
}

// Enabled implements [slog.Handler].
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// Dropped returns 0.
func (h *Handler) Dropped() uint64 { return 0 }

// Close returns nil.
func (h *Handler) Close() error { return nil }
