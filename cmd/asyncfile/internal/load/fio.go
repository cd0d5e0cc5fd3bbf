package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/latency"
)

// Fio is fio(1) with libaio on the same target, batches of 16. It reports false where it is
// not installed.
func Fio() (Contender, bool) {
	if _, err := exec.LookPath("fio"); err != nil {
		return Contender{}, false
	}
	return Contender{"fio", runFio}, true
}

func runFio(ctx context.Context, j Job) (*Result, error) {
	rw, direct := "randread", "1"
	if j.Write {
		rw = "randwrite"
	}
	if j.Cached {
		direct = "0"
	}
	batch := strconv.Itoa(min(j.Depth, 16))
	cmd := exec.CommandContext(ctx, "fio", "--name=bench", "--filename="+name(j.Target), "--size="+strconv.FormatInt(j.Target.Size, 10),
		"--ioengine=libaio", "--direct="+direct, "--rw="+rw, "--bs="+strconv.Itoa(j.Block), "--iodepth="+strconv.Itoa(j.Depth),
		"--iodepth_batch_submit="+batch, "--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max="+batch,
		"--time_based", "--runtime="+strconv.FormatInt(j.For.Milliseconds(), 10)+"ms", "--allow_file_create=0", "--norandommap",
		"--randrepeat=0", "--thread", "--output-format=json", "--percentile_list=50:99:99.9:99.99")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("fio: %w: %s", err, bytes.TrimSpace(errOut.Bytes()))
	}
	return parseFio(out.Bytes())
}

// fioOutput is what is read of fio's JSON: times in ns unless their name says else.
type fioOutput struct {
	Jobs []struct {
		Read, Write fioSide
		User        float64 `json:"usr_cpu"` // percent of the run
		System      float64 `json:"sys_cpu"`
	}
}

type fioSide struct {
	Ops     int64   `json:"total_ios"`
	Runtime float64 `json:"runtime"` // ms
	Submit  struct {
		Mean float64
	} `json:"slat_ns"`
	Completed struct {
		Percentile map[string]int64
		Mean       float64
		Min, Max   int64
	} `json:"clat_ns"`
}

func parseFio(text []byte) (*Result, error) {
	if at := bytes.IndexByte(text, '{'); at > 0 { // warnings come first
		text = text[at:]
	}
	var out fioOutput
	if err := json.Unmarshal(text, &out); err != nil || len(out.Jobs) != 1 {
		return nil, fmt.Errorf("fio's output is not what it was: %w", err)
	}
	job := out.Jobs[0]
	side := job.Read
	if side.Ops == 0 {
		side = job.Write
	}
	elapsed := time.Duration(side.Runtime * 1e6)
	r := &Result{Ops: side.Ops, Elapsed: elapsed, CPU: time.Duration(float64(elapsed) * (job.User + job.System) / 100),
		Submit: time.Duration(side.Submit.Mean * float64(side.Ops))}
	r.Summary = &latency.Summary{Count: side.Ops, Min: side.Completed.Min, Mean: int64(side.Completed.Mean), Max: side.Completed.Max,
		P50: percentile(side, "50.000000"), P99: percentile(side, "99.000000"), P999: percentile(side, "99.900000"), P9999: percentile(side, "99.990000")}
	return r, nil
}

func percentile(s fioSide, p string) int64 { return s.Completed.Percentile[p] }
