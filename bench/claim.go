package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A claim is one target and what became of it.
type claim struct {
	id, text string
	bound
	values  []float64 // by round
	have    string    // the figures behind the values
	missing string    // why there are none
}

// A bound is what a target asks of its value.
type bound struct {
	limit float64
	least bool // otherwise the most
}

func atLeast(limit float64) bound { return bound{limit, true} }
func atMost(limit float64) bound  { return bound{limit, false} }

// unbound is the bound of what is only to be known: it shows what another is made
// of.
func unbound() bound { return bound{limit: math.NaN()} }

func (b bound) free() bool { return math.IsNaN(b.limit) }

func (b bound) met(v float64) bool { return b.least && v >= b.limit || !b.least && v <= b.limit }

func (b bound) String() string {
	switch {
	case b.free():
		return "none"
	case b.least:
		return ">= " + number(b.limit)
	}
	return "<= " + number(b.limit)
}

// verdict says whether the median meets the limit, and in how many rounds the
// value did: where that is not nearly all or none, noise has decided.
func (c claim) verdict() string {
	if c.free() {
		return "-"
	}
	rounds := 0
	for _, v := range c.values {
		if c.met(v) {
			rounds++
		}
	}
	holds := "**no**"
	if c.met(spreadOf(c.values).median) {
		holds = "yes"
	}
	return fmt.Sprintf("%s (%d/%d)", holds, rounds, len(c.values))
}

// sorted puts claims in the order of their numbers.
func sorted(claims []claim) []claim {
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(targetNumber(a.id), targetNumber(b.id)) })
	return claims
}

// targetNumber returns 12 of "P12", and 0 of what is no number of a target.
func targetNumber(id string) int {
	digits, _ := strings.CutPrefix(id, "P")
	n, _ := strconv.Atoi(digits)
	return n
}

// writeClaims prints a Markdown table of what became of the targets.
func writeClaims(out io.Writer, claims []claim) error {
	var b strings.Builder
	b.WriteString("| # | what | figures | median | spread | target | holds (rounds) |\n|---|---|---|---|---|---|---|\n")
	for _, c := range claims {
		if c.missing != "" {
			fmt.Fprintf(&b, "| %s | %s | | | | %s | not measured: %s |\n", c.id, c.text, c.bound, cellText(c.missing))
			continue
		}
		s := spreadOf(c.values)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s-%s | %s | %s |\n",
			c.id, c.text, c.have, number(s.median), number(s.min), number(s.max), c.bound, c.verdict())
	}
	_, err := io.WriteString(out, b.String())
	return err
}
