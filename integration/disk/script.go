package disk

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Script is Inject of a Rule that is written as text, a line a rule, of which the
// first that has a fault for a request decides:
//
//	read 4096+512 eio           # bytes 4096 to 4607 cannot be read
//	write 0+1048576 torn 512    # 512 bytes are written, and the request fails
//	write after 10 times 1 cut  # the power goes with the eleventh write
//	read 8192+4096 delay 50ms
//	flush lost                  # is answered, and nothing is flushed
//	any throttle 100            # requests a second
//	write 65536+65536 hang
//
// First comes a kind (read, write, flush, stat, any), then the conditions (a
// range of bytes as offset+length; after, of so many others that the line would
// have been for; times, that many at most), and then the fault.
func (f *Faults) Script(t testing.TB, text string) {
	t.Helper()
	var rules []Rule
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		rule, err := parse(words)
		if err != nil {
			t.Fatalf("script: %q: %v", strings.TrimSpace(line), err)
		}
		rules = append(rules, rule)
	}
	f.Inject(First(rules...))
}

var kindNames = map[string][]Kind{
	"read": {Read}, "write": {Write}, "flush": {Flush}, "stat": {Stat}, "any": {Read, Write, Flush, Stat},
}

// A line is a line of a script.
type line struct {
	of     []Kind
	off, n int64
	after  int64
	times  int64
	fault  Rule
}

// rule is the Rule that the line stands for.
func (l *line) rule(r *Request) Fault {
	switch {
	case !slices.Contains(l.of, r.Kind), l.n < math.MaxInt64 && !r.Overlaps(l.off, l.n):
		return Fault{}
	case l.after > 0:
		l.after--
		return Fault{}
	case l.times == 0:
		return Fault{}
	}
	l.times--
	return l.fault(r)
}

// A parser has what is left of a line, and what was wrong first.
type parser struct {
	left []string
	err  error
}

func parse(words []string) (Rule, error) {
	p := &parser{left: words}
	l := &line{n: math.MaxInt64, times: math.MaxInt64}
	kind := p.next()
	if l.of = kindNames[kind]; l.of == nil {
		p.fail("no kind: %q", kind)
	}
	for l.fault == nil && p.err == nil {
		switch word := p.next(); word {
		case "after":
			l.after = p.number(p.next())
		case "times":
			l.times = p.number(p.next())
		default:
			if from, length, ok := strings.Cut(word, "+"); ok {
				l.off, l.n = p.number(from), p.number(length)
			} else {
				l.fault = p.fault(word)
			}
		}
	}
	if len(p.left) > 0 {
		p.fail("there is more than a fault: %q", p.left)
	}
	return l.rule, p.err
}

func (p *parser) next() string {
	if len(p.left) == 0 {
		p.fail("it ends too early")
		return ""
	}
	word := p.left[0]
	p.left = p.left[1:]
	return word
}

func (p *parser) number(text string) int64 {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil || n < 0 {
		p.fail("no number: %q", text)
	}
	return n
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// fault parses a fault, which begins with word.
func (p *parser) fault(word string) Rule {
	var f Fault
	switch word {
	case "eio":
		f.Err = syscall.EIO
	case "enospc":
		f.Err = syscall.ENOSPC
	case "torn":
		f.Err, f.Torn = syscall.EIO, int(p.number(p.next()))
	case "hang":
		f.Hang = true
	case "cut":
		f.Cut = true
	case "lost":
		f.Lost = true
	case "delay":
		delay, err := time.ParseDuration(p.next())
		if err != nil {
			p.fail("%v", err)
		}
		f.Delay = delay
	case "throttle":
		perSecond := int(p.number(p.next()))
		if perSecond == 0 {
			p.fail("at least 1 request a second passes")
			return nil
		}
		return Throttle(perSecond)
	default:
		p.fail("no fault: %q", word)
	}
	return func(*Request) Fault { return f }
}
