package asyncfile

import (
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A common is what the files of a Ring have in common: what their operations use
// again, and who looks at them.
type common struct {
	bounces    bouncePool
	operations operationPool

	observed bool      // there is one of the following
	verifier *verifier // nil, unless ASYNCFILE_VERIFY is set
	tracer   *tracer   // nil, unless ASYNCFILE_DEBUG is set
}

// observe has the Ring checked, and its operations traced, if the environment asks for
// that.
func (r *Ring) observe() {
	if os.Getenv(verifyEnv) == "1" {
		r.verify(newVerifier())
	}
	if os.Getenv(debugEnv) == "1" {
		r.trace(newTracer(r, os.Stderr))
	}
}

// verify and trace come before the Ring is used.
func (r *Ring) verify(v *verifier) {
	r.verifier, r.bounces.verifier, r.observed = v, v, true
	r.core.Check(func(meaning, found string) { v.broken(ourFault, meaning, "%s", found) })
	r.core.Watch(r.observes)
}

func (r *Ring) trace(t *tracer) {
	r.tracer, r.observed = t, true
	r.core.Watch(r.observes)
}

// observes is told of each step of a request.
func (r *Ring) observes(q *ring.Request, from, to ring.Stage, detail string) {
	o := q.Client.(*operation)
	if r.verifier != nil {
		r.verifier.walks(o, from, to)
	}
	if r.tracer != nil {
		r.tracer.walks(o, from, to, detail)
	}
}
