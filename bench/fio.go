package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

func fioMissing() string {
	if _, err := exec.LookPath("fio"); err != nil {
		return "fio is not installed"
	}
	return ""
}

// runFio has fio do a job. It needs some 300 ms beyond the time asked for.
func runFio(j job, args []string) (result, error) {
	if j.Cell.Cached {
		if err := warmCache(j.File, j.Size); err != nil {
			return result{}, err
		}
	}
	out, err := exec.Command("fio", fioArgs(j, args)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return result{}, fmt.Errorf("fio: %w", err)
	}
	return parseFio(out)
}

func fioArgs(j job, args []string) []string {
	c := j.Cell
	direct := "1"
	if c.Cached {
		direct = "0"
	}
	return append([]string{
		"--name=bench", "--filename=" + j.File, "--size=" + strconv.FormatInt(j.Size, 10),
		"--ioengine=libaio", "--direct=" + direct, "--rw=" + string(c.Pattern), "--bs=" + strconv.Itoa(c.Block),
		"--rwmixread=" + strconv.Itoa(readShare), "--iodepth=" + strconv.Itoa(c.Depth),
		"--norandommap", "--randrepeat=0", "--invalidate=0", "--fallocate=none",
		"--time_based", "--runtime=" + millis(j.Time), "--ramp_time=" + millis(j.Warm),
		"--lat_percentiles=1", "--clat_percentiles=0", "--percentile_list=50:99:99.9",
		"--group_reporting", "--output-format=json",
	}, args...)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }

// fioOutput is the part of fio's JSON output that is used.
type fioOutput struct {
	Jobs []struct {
		Error      int     `json:"error"`
		JobRuntime float64 `json:"job_runtime"` // ms, what the CPU shares are of
		UsrCPU     float64 `json:"usr_cpu"`     // percent
		SysCPU     float64 `json:"sys_cpu"`
		Ctx        int64   `json:"ctx"`
		Read       fioSide `json:"read"`
		Write      fioSide `json:"write"`
	} `json:"jobs"`
}

type fioSide struct {
	Bytes   int64   `json:"io_bytes"`
	Ops     int64   `json:"total_ios"`
	Runtime float64 `json:"runtime"` // ms
	Latency struct {
		Max        int64            `json:"max"`
		Percentile map[string]int64 `json:"percentile"` // ns
	} `json:"lat_ns"`
}

// parseFio reads fio's output. In mixed work the percentiles are those of the
// side with more operations.
func parseFio(out []byte) (result, error) {
	if i := bytes.IndexByte(out, '{'); i > 0 { // warnings come first
		out = out[i:]
	}
	var o fioOutput
	if err := json.Unmarshal(out, &o); err != nil {
		return result{}, fmt.Errorf("fio's output: %w", err)
	}
	if len(o.Jobs) != 1 {
		return result{}, fmt.Errorf("fio's output has %d jobs, not 1", len(o.Jobs))
	}
	j := o.Jobs[0]
	if j.Error != 0 {
		return result{}, fmt.Errorf("fio: error %d", j.Error)
	}
	main := j.Read
	if j.Write.Ops > main.Ops {
		main = j.Write
	}
	r := result{
		Ops:      j.Read.Ops + j.Write.Ops,
		Bytes:    j.Read.Bytes + j.Write.Bytes,
		Seconds:  max(j.Read.Runtime, j.Write.Runtime) / 1e3,
		CPU:      (j.UsrCPU + j.SysCPU) / 100 * j.JobRuntime / 1e3,
		Switches: j.Ctx,
		Allocs:   -1,
		Threads:  1, // the job's process; fio's front end sleeps
		P50:      time.Duration(main.Latency.Percentile["50.000000"]),
		P99:      time.Duration(main.Latency.Percentile["99.000000"]),
		P999:     time.Duration(main.Latency.Percentile["99.900000"]),
		Max:      time.Duration(max(j.Read.Latency.Max, j.Write.Latency.Max)),
	}
	if r.Ops == 0 || r.Seconds == 0 {
		return r, errors.New("fio: no operation ended within the measured time")
	}
	return r, nil
}
