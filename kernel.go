package asyncfile

import "github.com/seed-39be8cca/asyncfile/internal/seam"

// WithKernel has a Ring, and the regular files on it, run on k in place of the running
// kernel. It is there for package asyncfiletest, whose NewRing users call instead: no
// other module can make a seam.Kernel. nil is refused.
func WithKernel(k *seam.Kernel) Option {
	return func(c *config) {
		c.shape("WithKernel")
		if c.reject(k == nil, "WithKernel(nil): use asyncfiletest.NewRing"); k != nil {
			c.kernel, c.setup = k, k.Setup
		}
	}
}
