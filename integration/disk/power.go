package disk

import (
	"slices"
	"syscall"
)

// read reads what was written last, wherever that is.
func (d *Disk) read(p []byte, off int64) syscall.Errno {
	if errno := d.fault(Request{Kind: Read, Offset: off, Length: len(p)}).Err; errno != 0 {
		return errno
	}
	d.power.Lock()
	defer d.power.Unlock()
	if d.dark() {
		return syscall.EIO
	}
	copy(p, d.now[off:])
	return 0
}

// write puts p into the cache. While that waits for a fault to be over the power
// may go, and leave any part of it.
func (d *Disk) write(p []byte, off int64) syscall.Errno {
	w := &write{off, slices.Clone(p)}
	if !d.begin(w) {
		return syscall.EIO
	}
	met := d.fault(Request{Kind: Write, Offset: off, Length: len(p), Data: p})

	d.power.Lock()
	defer d.power.Unlock()
	i := slices.Index(d.coming, w)
	if i < 0 { // the power has gone meanwhile
		return syscall.EIO
	}
	d.coming = slices.Delete(d.coming, i, i+1)
	switch {
	case met.Err != 0:
		w.data = w.data[:min(met.Torn, len(p))]
	case met.Lost:
		return 0
	}
	copy(d.now[off:], w.data)
	d.cache = append(d.cache, w)
	return met.Err
}

// begin notes that w has come. It reports whether there is power.
func (d *Disk) begin(w *write) bool {
	d.power.Lock()
	defer d.power.Unlock()
	if d.dark() {
		return false
	}
	d.coming = append(d.coming, w)
	return true
}

// flush puts on the platter what was answered before it came.
func (d *Disk) flush() syscall.Errno {
	met := d.fault(Request{Kind: Flush})
	d.power.Lock()
	defer d.power.Unlock()
	switch {
	case d.dark():
		return syscall.EIO
	case met.Err != 0 || met.Lost:
		return met.Err
	}
	for _, w := range d.cache {
		copy(d.platter[w.off:], w.data)
	}
	d.cache = nil
	return 0
}

// fault returns what r meets, without that of a Cut, which it carries out.
func (d *Disk) fault(r Request) Fault {
	met := d.meet(r)
	if met.Cut {
		d.Cut()
	}
	return met
}

// dark reports whether the power is off. Called with power held.
func (d *Disk) dark() bool {
	select {
	case <-d.off:
		return true
	default:
		return false
	}
}

// Cut turns the power off. Everything fails from now on. Of what no flush has
// covered any sectors are left, of any age: a disk writes its cache in the order
// that suits it, and a request of many sectors in no order at all. What comes back
// with the power is drawn here.
func (d *Disk) Cut() {
	d.power.Lock()
	defer d.power.Unlock()
	if d.dark() {
		return
	}
	close(d.off)
	// How much is left differs from time to time, too.
	whole, none := d.share(), d.share()
	writes := slices.Concat(d.cache, d.coming)
	for _, w := range writes {
		switch {
		case d.random.Float64() < none:
		case d.random.Float64() < whole:
			copy(d.platter[w.off:], w.data)
		default:
			d.tear(w)
		}
	}
	for _, w := range writes {
		copy(d.now[w.off:], d.platter[w.off:][:len(w.data)])
	}
	d.cache, d.coming = nil, nil
}

// share draws a probability, of which 0 and 1 are as likely as all others.
func (d *Disk) share() float64 { return min(max(2*d.random.Float64()-0.5, 0), 1) }

// tear writes some sectors of w.
func (d *Disk) tear(w *write) {
	share := d.random.Float64()
	for at := int64(0); at < int64(len(w.data)); at += d.sector {
		if end := min(at+d.sector, int64(len(w.data))); d.random.Float64() < share {
			copy(d.platter[w.off+at:], w.data[at:end])
		}
	}
}

// Off returns what is closed while the power is off.
func (d *Disk) Off() <-chan struct{} {
	d.power.Lock()
	defer d.power.Unlock()
	return d.off
}

// Restore turns the power on again. The device has to be attached anew: what the
// kernel knows of the disk is from before.
func (d *Disk) Restore() {
	d.power.Lock()
	defer d.power.Unlock()
	if d.dark() {
		d.off = make(chan struct{})
	}
}

// Unflushed returns how many writes are not on the platter for sure.
func (d *Disk) Unflushed() int {
	d.power.Lock()
	defer d.power.Unlock()
	return len(d.cache)
}
