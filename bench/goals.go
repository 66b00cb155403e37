package main

import (
	"fmt"
	"strings"
)

// The tables about which there are goals.
const (
	plainTitle = "64 clients at a time, in plain text"
	tlsTitle   = "64 clients at a time, over TLS 1.3 with ECDSA P-256, each with a new session"
	proxyTitle = "64 clients at a time, behind a proxy with PROXY protocol version 2"
	openTitle  = "open loop, " // not over the link
)

// An outcome is what greetd did in a table, beside nginx.
type outcome struct {
	title string
	figures
}

// A goal is a bound on the ratio of greetd to nginx in the same round.
type goal struct {
	table string // its title, or how it begins
	what  string
	of    func(result) float64
	least bool // the bound is the least, else the most
	bound float64
}

var goals = []goal{
	{plainTitle, "connections a second", result.rate, true, 1.0},
	{plainTitle, "p99", result.p99, false, 1.0},
	{plainTitle, "server CPU", result.cpuEach, false, 1.15},
	{openTitle, "p99", result.p99, false, 1.0},
	{proxyTitle, "server CPU", result.cpuEach, false, 1.15},
	{proxyTitle, "p99", result.p99, false, 1.0},
	{tlsTitle, "connections a second", result.rate, true, 1.0},
	{tlsTitle, "server CPU", result.cpuEach, false, 1.3},
}

// reportGoals says which goals were met, by the medians of the ratios.
func (b *bench) reportGoals() {
	var rows strings.Builder
	for _, o := range b.outcomes {
		for _, g := range goals {
			if !strings.HasPrefix(o.title, g.table) {
				continue
			}
			ratio := median(o.ratios(g.of))
			bound, met := fmt.Sprintf("at most %.2f", g.bound), ratio <= g.bound
			if g.least {
				bound, met = fmt.Sprintf("at least %.2f", g.bound), ratio >= g.bound
			}
			verb := "missed"
			if met {
				verb = "met"
			}
			fmt.Fprintf(&rows, "| %s: %s | %s | %s | %s |\n", o.title, g.what, bound, spread(o.ratios(g.of)), verb)
		}
	}
	if rows.Len() > 0 {
		fmt.Fprintf(b.out, "\n## Goals, greetd to nginx\n\n| | goal | measured | |\n|---|---|---|---|\n%s", &rows)
	}
}
