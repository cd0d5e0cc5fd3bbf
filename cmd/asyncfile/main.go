// Command asyncfile shows what asynchronous file I/O is like on a machine, and uses it:
//
//	asyncfile probe [PATH]     what kernel, sandbox, file system and device allow, and advice
//	asyncfile ping [PATH]      the latency of a disk, one line a request
//	asyncfile copy SRC DST     copy files and trees, with many blocks in flight
//	asyncfile sum FILE...      checksums of many files at once
//	asyncfile bench [PATH]     the ways to keep a disk busy, side by side
//	asyncfile tune PATH        find the queue depth of a device
//
// It is for Linux. Each command has examples in its --help. docs/tool.md in the repository has
// recorded output, the JSON schemas and the exit codes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
)

// Exit codes. One that was interrupted has printed its summary before.
const (
	exitFailed    = 1   // something could not be done; standard error says what
	exitUsage     = 2   // the command line; nothing was done
	exitSignalled = 128 // and the signal's number: 130 for SIGINT, 143 for SIGTERM
)

// commands is the command line.
type commands struct {
	JSON  bool   `help:"Print JSON, in the schema of docs/tool.md."`
	Color string `enum:"auto,always,never" default:"auto" help:"Colours: ${enum}; auto has them on a terminal, unless NO_COLOR is set."`

	Probe probeCommand `cmd:"" help:"What kernel, sandbox, file system and device allow here, and advice."`
	Ping  pingCommand  `cmd:"" help:"The latency of a disk, one line a request."`
	Copy  copyCommand  `cmd:"" help:"Copy files and trees, with many blocks in flight."`
	Sum   sumCommand   `cmd:"" help:"Checksums of many files at once, written and checked as sha256sum does."`
	Bench benchCommand `cmd:"" help:"The ways to keep a disk busy, side by side."`
	Tune  tuneCommand  `cmd:"" help:"Find the queue depth of a device, and write a profile that the library reads."`
}

// An app is what a command runs in.
type app struct {
	term.Screen
	ctx  context.Context // ends with the first signal
	in   io.Reader
	json bool
}

// errReported is returned by a command that has said what failed.
var errReported = errors.New("reported")

func main() {
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		got := <-signals
		signal.Stop(signals) // the second one ends the program at once
		stop(signalled{got.(syscall.Signal)})
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// signalled is why the context of a command has ended.
type signalled struct{ signal syscall.Signal }

func (s signalled) Error() string { return s.signal.String() }

// exited is what kong's own exits are turned into.
type exited int

// run carries a command line out and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) (code int) {
	defer func() {
		if e, ok := recover().(exited); ok {
			code = int(e)
		}
	}()
	var line commands
	a := &app{Screen: term.Screen{Out: out, Err: errOut}, ctx: ctx, in: in}
	parser, err := kong.New(&line,
		kong.Name("asyncfile"),
		kong.Description("See what asynchronous file I/O is like here, and use it. Sizes take k, M, G, T (powers of 1024), times ms, s, m."),
		kong.Writers(out, errOut), kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Bind(a))
	if err != nil {
		fmt.Fprintln(errOut, "asyncfile:", err)
		return exitUsage
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(errOut, "asyncfile: %v\nTry: asyncfile --help\n", err)
		return exitUsage
	}
	a.json = line.JSON
	a.Colours = line.Color == "always" || line.Color == "auto" && term.IsTerminal(out) && os.Getenv("NO_COLOR") == ""
	return a.exitCode(command.Run())
}

// exitCode says what went wrong, unless that was said.
func (a *app) exitCode(err error) int {
	var usage usageError
	var sig signalled
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(a.Err, "asyncfile: %v\nTry: asyncfile --help\n", err)
		return exitUsage
	case errors.As(context.Cause(a.ctx), &sig):
		return exitSignalled + int(sig.signal)
	case err == nil:
		return 0
	case !errors.Is(err, errReported):
		fmt.Fprintln(a.Err, a.Bad("asyncfile:"), err)
	}
	return exitFailed
}

// A fileName is an argument that kong leaves as it is: any bytes.
type fileName string

// Decode takes the argument. What kong does with a string goes through JSON, and so through
// UTF-8.
func (n *fileName) Decode(ctx *kong.DecodeContext) error {
	token, err := ctx.Scan.PopValue("file name")
	if err != nil {
		return err
	}
	*n = fileName(token.String())
	return nil
}

// A usageError is a command line that cannot have been meant.
type usageError string

func (e usageError) Error() string { return string(e) }

// writeJSON writes one document.
func (a *app) writeJSON(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// An outcome is an error in JSON: {"ok": true}, or the reason why not.
type outcome struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

func outcomeOf(err error) outcome {
	if err == nil {
		return outcome{OK: true}
	}
	return outcome{Error: err.Error()}
}
