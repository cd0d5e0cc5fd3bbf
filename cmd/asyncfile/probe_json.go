package main

import "github.com/seed-39be8cca/asyncfile/probe"

// probeSchema names what follows. Fields may be added to it; a new number means that
// one has changed or gone.
const probeSchema = "asyncfile.probe/1"

type (
	probeDocument struct {
		Schema  string       `json:"schema"`
		Machine probeMachine `json:"machine"`
		Place   probePlace   `json:"place"`
		Advice  probeAdvice  `json:"advice"`
	}
	probeMachine struct {
		Kernel     string       `json:"kernel"`
		Processors int          `json:"processors"`
		AIO        outcome      `json:"aio"`
		IOUring    outcome      `json:"io_uring"`
		Used       int64        `json:"aio_nr"`
		Max        int64        `json:"aio_max_nr"`
		Sandbox    probeSandbox `json:"sandbox"`
	}
	probeSandbox struct {
		Container       string `json:"container"`
		Seccomp         string `json:"seccomp"`
		IOUringDisabled int    `json:"io_uring_disabled"`
	}
	probePlace struct {
		Path       string             `json:"path"`
		Kind       string             `json:"kind"`
		FileSystem string             `json:"file_system"`
		BlockSize  int64              `json:"block_size"`
		Mount      probeMount         `json:"mount"`
		Device     *probeDevice       `json:"device"`
		Throttles  []probeThrottle    `json:"throttles"`
		Direct     outcome            `json:"direct"`
		Alignment  probeAlignment     `json:"alignment"`
		Atomic     probeAtomic        `json:"atomic"`
		Features   map[string]outcome `json:"features"`
		Submit     []probeSubmission  `json:"submit"`
	}
	probeMount struct {
		Point   string `json:"point"`
		Source  string `json:"source"`
		Options string `json:"options"`
	}
	probeDevice struct {
		Name          string   `json:"name"`
		Number        string   `json:"number"`
		Disk          string   `json:"disk"`
		Model         string   `json:"model"`
		Below         []string `json:"below"`
		Size          int64    `json:"size"`
		LogicalBlock  int      `json:"logical_block"`
		PhysicalBlock int      `json:"physical_block"`
		OptimalIO     int      `json:"optimal_io"`
		Requests      int      `json:"nr_requests"`
		Scheduler     string   `json:"scheduler"`
		Rotational    bool     `json:"rotational"`
		WriteCache    string   `json:"write_cache"`
	}
	probeThrottle struct {
		Cgroup string `json:"cgroup"`
		Limit  string `json:"limit"`
		Value  int64  `json:"value"`
	}
	probeAlignment struct {
		Memory     int  `json:"memory"`
		Read       int  `json:"read"`
		Write      int  `json:"write"`
		FromKernel bool `json:"from_kernel"`
	}
	probeAtomic struct {
		outcome
		Min int `json:"min"`
		Max int `json:"max"`
	}
	probeSubmission struct {
		Kind string `json:"kind"`
		outcome
		Inline bool  `json:"inline"`
		Inside int64 `json:"inside_ns"`
		Total  int64 `json:"total_ns"`
	}
	probeAdvice struct {
		Backend    string   `json:"backend"`
		Direct     string   `json:"direct"`
		QueueDepth int      `json:"queue_depth"`
		Reasons    []string `json:"reasons"`
	}
)

// document returns the report in the schema.
func (r *probeReport) document() *probeDocument {
	m, a := r.machine, r.advice
	return &probeDocument{
		Schema: probeSchema,
		Machine: probeMachine{
			Kernel: m.Kernel, Processors: m.Processors, AIO: outcomeOf(m.AIO), IOUring: outcomeOf(m.IOUring),
			Used: m.Limits.Used, Max: m.Limits.Max, Sandbox: probeSandbox(m.Sandbox),
		},
		Place:  placeDocument(r.place),
		Advice: probeAdvice{a.Backend.String(), a.Direct.String(), a.QueueDepth, a.Reasons},
	}
}

func placeDocument(p *probe.Place) probePlace {
	d := probePlace{
		Path: p.Name, Kind: p.Kind, FileSystem: p.FileSystem, BlockSize: p.BlockSize, Mount: probeMount(p.Mount),
		Direct:    outcomeOf(p.Direct),
		Alignment: probeAlignment{p.Alignment.Memory, p.Alignment.ReadOffset, p.Alignment.Offset, p.Alignment.FromKernel},
		Atomic:    probeAtomic{outcomeOf(p.Atomic.Err), p.Atomic.Min, p.Atomic.Max},
		Features:  map[string]outcome{},
		Throttles: []probeThrottle{},
		Submit:    []probeSubmission{},
	}
	if v := p.Device; v != nil {
		d.Device = &probeDevice{v.Name, v.Number, v.Disk, v.Model, v.Below, v.Size, v.LogicalBlock, v.PhysicalBlock,
			v.OptimalIO, v.Requests, v.Scheduler, v.Rotational, v.WriteCache}
	}
	for _, t := range p.Throttles {
		d.Throttles = append(d.Throttles, probeThrottle(t))
	}
	for _, f := range p.Features {
		d.Features[f.Name] = outcomeOf(f.Err)
	}
	for _, s := range p.Submit {
		d.Submit = append(d.Submit, probeSubmission{s.Kind, outcomeOf(s.Err), s.Inline, s.Inside.Nanoseconds(), s.Total.Nanoseconds()})
	}
	return d
}
