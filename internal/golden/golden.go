// Package golden reads and writes scripts that are tests and documentation at
// once. A script is prose, and steps. A step is commands, one a line, a line of four
// dashes, and what the commands bring about, up to an empty line:
//
//	# A waiter finds its result.
//
//	read a 0+512
//	wait a
//	----
//	a: 512 bytes
//
// Lines of prose begin with #. A test carries the commands out and compares; or it
// writes what happened into the script, for its author to read and to approve.
package golden

import (
	"fmt"
	"strings"
)

// A Script is what one file holds.
type Script struct {
	Steps []Step
	rest  []string // prose and empty lines behind the last step
}

// A Step is commands and what they bring about.
type Step struct {
	Line     int // of its first command, from 1
	Commands []Command
	Want     []string // neither empty nor with empty lines

	prose []string // and empty lines, before it
}

// A Command is one line: a verb and its arguments.
type Command struct {
	Line int
	Text string
	Verb string
	Args []string
}

const divider = "----"

// Parse reads a script. The error names the line.
func Parse(text string) (*Script, error) {
	s := new(Script)
	var step Step
	output := false // the line belongs to step.Want
	end := func() {
		s.Steps = append(s.Steps, step)
		step, output = Step{}, false
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, " \t")
		switch {
		case output && line != "":
			step.Want = append(step.Want, line)
		case output:
			end()
			step.prose = append(step.prose, line)
		case line == divider:
			if len(step.Commands) == 0 {
				return nil, fmt.Errorf("line %d: no command before %s", i+1, divider)
			}
			output = true
		case line == "" || strings.HasPrefix(line, "#"):
			if len(step.Commands) > 0 {
				return nil, fmt.Errorf("line %d: commands without %s", i+1, divider)
			}
			step.prose = append(step.prose, line)
		default:
			if len(step.Commands) == 0 {
				step.Line = i + 1
			}
			fields := strings.Fields(line)
			step.Commands = append(step.Commands, Command{Line: i + 1, Text: line, Verb: fields[0], Args: fields[1:]})
		}
	}
	switch {
	case output:
		end()
	case len(step.Commands) > 0:
		return nil, fmt.Errorf("line %d: commands without %s", step.Line, divider)
	}
	s.rest = step.prose
	return s, nil
}

// Prose returns what the script says before its first command, without the #.
func (s *Script) Prose() string {
	lines := s.rest
	if len(s.Steps) > 0 {
		lines = s.Steps[0].prose
	}
	var text []string
	for _, line := range lines {
		text = append(text, strings.TrimSpace(strings.TrimPrefix(line, "#")))
	}
	return strings.TrimSpace(strings.Join(text, "\n"))
}

// String returns the script as Parse reads it.
func (s *Script) String() string {
	var b strings.Builder
	write := func(lines []string) {
		for _, line := range lines {
			fmt.Fprintln(&b, line)
		}
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		write(step.prose)
		for _, c := range step.Commands {
			fmt.Fprintln(&b, c.Text)
		}
		fmt.Fprintln(&b, divider)
		write(step.Want)
	}
	write(s.rest)
	return b.String()
}

// Diff returns what was got, with a mark before each line that was not wanted or is
// missing, and nothing if there is no difference.
func Diff(want, got []string) string {
	// The longest common subsequence: common[i][j] is that of want[i:] and got[j:].
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	if n := common[0][0]; n == len(want) && n == len(got) {
		return ""
	}
	var b strings.Builder
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			fmt.Fprintf(&b, "  %s\n", got[j])
			i++
			j++
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(&b, "- %s\n", want[i])
			i++
		default:
			fmt.Fprintf(&b, "+ %s\n", got[j])
			j++
		}
	}
	return b.String()
}
