/*
The protocol of a Ring (completer.go; in internal/ring lane.go, submit.go, reap.go, seat.go, watchdog.go, and
of ring.go acquire and Close), for Spin. docs/ring.sh runs it.

What is done with Ring.mu held is one step; what is done without it is interleaved
with everything else. The names are those of the code. In the model:

  - push, lazily and promptly; the wait for a slot; Wait (lend), Done (ask), and a
    Queue, each from a goroutine of its own, and a second one that waits for the same
    operation; two lanes; held operations, those that a worker carries out, and those
    that need a second submission;
  - the completer, its park, its wait of maxHold, and its successors; spawn; rouse;
    maxSenders, of which there are two here; senders that are slow, or sleep for
    ever; EAGAIN; the looks of the watchdog; Ring.Close.

Checked, in every state: io_submit has no more than maxSenders of a lane; who reaps
has the token; every event is one of what is in flight; Close destroys the context
only when nothing is in flight, and nobody is inside io_submit or io_getevents. Where
nothing moves any more: whatever somebody asked for has ended, and whoever waits for
it has come back, but for what the device never answers, and, where a sender sleeps
for ever, what is of its lane; no Future is left counted; Close is over.

Without the watchdog (WATCHDOG 0) this shows that no lost wake-up hides behind it.
With WATCHDOG 1 it does nothing but find senders that sleep, which nobody else can.
No wait in io_getevents ends by its timeout, but where nothing is in flight or
the Ring is stalled, so that none hides behind that either.

Not in the model: a broken context; errors of io_submit but EAGAIN; waits for several
events at once (patience.min is 1, and their timeout is watchPeriod); lanes that come
and go; the shares of lanes in the slots; that the watchdog takes more than one
completer for asleep that is only slow; fairness: a loop without end is not looked
for. Of the memory model nothing: atomics are sequentially consistent in Go. Events
are there when somebody looks: the kernel chooses which.
*/

#ifndef N
#define N 3             // operations; client i submits and waits for operation i
#endif
#ifndef A
#define A 1             // those of lane 0; all others are of lane 1
#endif
#ifndef READS
#define READS 255       // those that read
#endif
#ifndef MORE
#define MORE 0          // those that need a second submission (a short transfer)
#endif
#ifndef HUNG
#define HUNG 0          // those that the device never answers
#endif
#ifndef WORKER
#define WORKER 0        // those that a worker carries out
#endif
#ifndef AFTER
#define AFTER 0         // those that are held until operation 0 has ended
#endif
#ifndef DEPTH
#define DEPTH N         // slots
#endif
#ifndef SLEEPS
#define SLEEPS 0        // so many io_submit calls of lane 0 never return
#endif
#ifndef SLOW
#define SLOW 0          // an io_submit of lane 0 takes its requests one by one
#endif
#ifndef AGAINS
#define AGAINS 0        // so many io_submit calls say EAGAIN
#endif
#ifndef WATCHDOG
#define WATCHDOG 0      // 0: none. 1: it only finds senders that sleep. 2: all of it
#endif
#ifndef FORMS
#define FORMS 3         // what clients do: 1 Wait, 2 Done, 4 as a Queue, 8 nothing
#endif
#ifndef SECOND
#define SECOND 0        // another goroutine waits for operation 0
#endif
#ifndef CLOSE
#define CLOSE 0         // Ring.Close at any time
#endif
#ifndef WATCHING
#define WATCHING 0      // so many waits of the completer are held for maxHold
#endif
#ifndef MAPPED
#define MAPPED 1        // reapReady sees events
#endif
#ifndef EVENTFD
#define EVENTFD 0       // only the completer reaps
#endif

#define MAXSENDERS 2    // 4 in the code
#define MAXROUNDS 2     // 8 in the code

#define ALL ((1 << N) - 1)
#define BIT(i) (1 << (i))
#define OF(l) ((l) == 0 -> A : ALL & ~(A))

// Who drives: clients, the second waiter, completers, started senders, a worker.
#define SECONDWAITER N
#define COMPLETER (N + 1)
#if WATCHDOG
#define COMPLETERS (2 + SLEEPS) // one may be replaced though its io_submit was only slow
#else
#define COMPLETERS 1
#endif
#define SPAWNED (COMPLETER + COMPLETERS)
#define WORKERS (SPAWNED + MAXSENDERS + 1)
#define DRIVERS (WORKERS + 1)

mtype = { parked, working, watching, waiting }               // completerState
mtype = { lender, completer, spawned, aWorker }              // roles
mtype = { idle, reaping, acquiring, pushing, gone }          // what follows a rouse

// Of requests, as sets. A request that is in none of these is a driver's, or over.
byte pend, entering, inflight;
byte kern;              // the kernel has them, or their events
byte heldBack, withWorker;
byte more = MORE;
byte pushed, wanted_;   // submitted; waited for, on whatever
byte waits;             // goroutines that wait
byte ended0;            // operation 0 has left the order of its file

// Of Futures, as sets.
byte resolved, counted, done;
short asks;

// Of lanes.
bool urgent[2], seenPending[2];
byte senders[2], starting[2], asleepOf[2];

// Of drivers.
byte batch[DRIVERS], laneOf[DRIVERS];
bool call[DRIVERS], seenCall[DRIVERS], asleep[DRIVERS], hung[DRIVERS];

bool mu;                // held across steps: only where Futures are counted with it held
bool token, asked, stalled, closed, destroyed;
byte inside, slots = DEPTH, slotWaiters, given, telling, unattended;
mtype state = parked;
bool wake, quit;
byte current = COMPLETER, running = 1, started = 1;
bool on, lonely, newCalls;
byte againsLeft = AGAINS, sleepsLeft = SLEEPS, watchingsLeft = WATCHING;
bool hangs;             // a sender of lane 0 sleeps for ever
byte mistakes = 1;     // completers that are replaced though they do not sleep for ever

#define AT(l) (senders[l] + starting[l])
#define LOAD(l, may) (AT(l) == MAXSENDERS - 1 && (may) == 2 -> 1 : (may)) // 1 reads, 2 all
#define SENDABLE(l, may) \
	((stalled || AT(l) > asleepOf[l] || AT(l) >= MAXSENDERS || \
	  (pend & OF(l) & READS) == 0 && (LOAD(l, may) == 1 || (pend & OF(l) & ~(READS)) == 0)) -> 0 : LOAD(l, may))
#define INFLIGHT (entering | inflight)
#define AWAITED (asleepOf[0] + asleepOf[1] > 0 -> INFLIGHT : inflight)
#define WANTED (!token && AWAITED != 0 && (asked || stalled || asks > 0 || slotWaiters > 0 || closed))
#define DUE1(l) (urgent[l] && (SENDABLE(l, 2) != 0 || stalled && inflight == 0 && (pend & OF(l)) != 0))
#define DUE (DUE1(0) || DUE1(1) || WANTED)

inline watch() { on = (WATCHDOG > 0) }

inline unpark() { state = working; wake = true }

inline rouse() {
	if
	:: state == parked && DUE -> unpark()
	:: state == parked && !DUE ->
		if
		:: !token && INFLIGHT != 0 -> watch()
		:: else
		fi
	:: state == waiting ->
		if
		:: urgent[0] && SENDABLE(0, 2) != 0 -> starting[0]++
		:: else
		fi;
		if
		:: urgent[1] && SENDABLE(1, 2) != 0 -> starting[1]++
		:: else
		fi
	:: else
	fi
}

inline queue(list) {
	if
	:: list != 0 ->
		pend = pend | list;
		if
		:: list & OF(0) -> urgent[0] = true
		:: else
		fi;
		if
		:: list & OF(1) -> urgent[1] = true
		:: else
		fi;
		asked = true;
		watch()
	:: else
	fi
}

// One goroutine. What stands between !mu and the next label outside of an atomic is
// done with Ring.mu held, in one step.
proctype Driver(byte me; mtype role; byte op; byte mylane) {
	byte lane, may, rounds, taken, got, mine, ready, b, form;
	bool refused, inSend, sent;
	mtype at;
	if
	:: role == completer -> (started > me - COMPLETER); goto next
	:: role == spawned -> goto spawnedNext
	:: role == aWorker -> goto work
	:: me == SECONDWAITER -> atomic { (pushed & BIT(op)); waits = waits | BIT(me) }; goto lend
	:: else
	fi;
	if
	:: (FORMS & 1) -> form = 1
	:: (FORMS & 2) -> form = 2
	:: (FORMS & 4) -> form = 4
	:: (FORMS & 8) -> form = 8
	fi;
	atomic { // acquire
		!mu;
		if
		:: closed -> goto over
		:: !closed && slots > 0 && slotWaiters == 0 -> slots--; goto acquired
		:: else ->
			slotWaiters++;
			urgent[0] = (pend & OF(0)) != 0; urgent[1] = (pend & OF(1)) != 0;
			at = acquiring; goto rousing
		fi
	}
acquire:
	atomic {
		given > 0 || closed;
		if
		:: given > 0 -> given--
		:: else -> slotWaiters--; goto over
		fi
	}
acquired:
	atomic { // push
		!mu;
		pushed = pushed | BIT(op);
		wanted_ = wanted_ | ((form != 8 || WATCHDOG == 2) -> BIT(op) : 0);
		if
		:: (WORKER & BIT(op)) -> withWorker = withWorker | BIT(op); goto pushed1
		:: !(WORKER & BIT(op)) && (AFTER & BIT(op)) && !ended0 -> heldBack = heldBack | BIT(op); goto pushed1
		:: else ->
			pend = pend | BIT(op);
			watch();
			asked = (asked || form == 4);
			if
			:: form != 4 && slotWaiters == 0 && !closed -> goto pushed1 // lazily
			:: urgent[mylane] = true; at = pushing; goto rousing // prompt, or a full batch
			fi
		fi
	}
pushed1:
	waits = waits | (form < 4 -> BIT(me) : 0);
	if
	:: form == 1 -> goto lend
	:: form == 2 -> goto ask
	:: else -> goto over
	fi;
lend:
	if
	:: (resolved & BIT(op)) -> goto wait
	:: else -> goto next
	fi;
ask:
	atomic {
		if
		:: (resolved & BIT(op)) || (counted & BIT(op)) -> goto wait
		:: else -> counted = counted | BIT(op)
		fi
	}
	asks++;
	atomic {
		if
		:: (resolved & BIT(op)) && (counted & BIT(op)) -> counted = counted & ~BIT(op)
		:: else -> goto asking
		fi
	}
	asks--;
asking:
	atomic { !mu; urgent[mylane] = (pend & OF(mylane)) != 0; at = idle; goto rousing }

next:
	atomic {
		!mu;
decide:
		lane = mylane; may = 2; inSend = false; rounds = 0;
		if
		:: role == lender && (resolved & BIT(op)) -> at = idle; goto rousing
		:: role == lender && !(resolved & BIT(op)) ->
			may = (READS & BIT(op) -> 1 : 2);
			if
			:: state == working || state == watching -> mu = true; goto expect
			:: else
			fi;
			if
			:: !sent && SENDABLE(mylane, may) != 0 -> sent = true; goto send
			:: (sent || SENDABLE(mylane, may) == 0) && !token && (INFLIGHT & BIT(op)) && AWAITED != 0 && !EVENTFD ->
				sent = false; token = true; at = reaping; goto rousing
			:: else -> mu = true; goto expect
			fi
		:: role == completer && current != me -> running--; at = gone; goto rousing
		:: role == completer && current == me ->
			if
			:: SENDABLE(0, 2) != 0 -> lane = 0; goto send
			:: SENDABLE(0, 2) == 0 && SENDABLE(1, 2) != 0 -> lane = 1; goto send
			:: else
			fi;
			if
			:: WANTED ->
				state = waiting;
				if
				:: watchingsLeft > 0 -> watchingsLeft--; state = watching
				:: true
				fi;
				token = true; at = reaping; goto rousing
			:: !WANTED && stalled && inflight == 0 -> goto nap
			:: else ->
				asked = (asked && (INFLIGHT != 0 || pend != 0));
				state = parked;
				on = (on || INFLIGHT != 0 && WATCHDOG > 0);
				goto park
			fi
		:: else -> at = idle; goto rousing
		fi;
rousing:
		skip;
		d_step { rouse() };
		if
		:: at == reaping -> goto reap
		:: at == idle && role == lender -> goto wait
		:: at == idle && role == spawned -> goto spawnedNext
		:: at == idle && role == aWorker -> goto work
		:: at == acquiring -> goto acquire
		:: at == pushing -> goto pushed1
		:: at == gone -> goto over
		fi;
sendMore:
		if
		:: rounds < MAXROUNDS && SENDABLE(lane, may) != 0
		:: else ->
			urgent[lane] = (urgent[lane] || SENDABLE(lane, 2) != 0);
			goto decide
		fi;
send:
		skip;
		d_step {
			inSend = true; rounds++;
			may = SENDABLE(lane, may);
			senders[lane]++;
			assert(senders[lane] + starting[lane] <= MAXSENDERS);
			batch[me] = pend & OF(lane) & (may == 2 -> ALL : READS);
			assert(batch[me] != 0);
			pend = pend & ~batch[me];
			urgent[lane] = (urgent[lane] && (pend & OF(lane)) != 0);
			seenPending[lane] = (seenPending[lane] && (pend & OF(lane)) != 0);
			entering = entering | batch[me];
			inside++;
			laneOf[me] = lane; call[me] = true; seenCall[me] = false; newCalls = true;
			watch()
		};
		goto submit
	}

submit: // What the kernel takes: their events may come from here on.
	if
	:: atomic { kern = kern | batch[me]; taken = batch[me] }
	:: atomic { lane == 0 && SLOW && (batch[me] & (batch[me] - 1)) != 0 -> taken = batch[me] & -batch[me]; kern = kern | taken }
		atomic { kern = kern | (batch[me] & ~taken); taken = batch[me] }
	:: atomic { againsLeft > 0 -> againsLeft--; refused = true; taken = 0 }
	:: atomic { againsLeft > 0 && (batch[me] & (batch[me] - 1)) != 0 ->
			againsLeft--; refused = true; taken = batch[me] & -batch[me]; kern = kern | taken }
	:: atomic { lane == 0 && sleepsLeft > 0 -> sleepsLeft--; hangs = true; hung[me] = true }
		false
	:: atomic { lane == 0 && sleepsLeft > 0 && (batch[me] & (batch[me] - 1)) != 0 ->
			sleepsLeft--; hangs = true; hung[me] = true; kern = kern | (batch[me] & -batch[me]) }
		false
	fi;
	atomic {
		!mu;
		assert(!destroyed);
		d_step {
			call[me] = false;
			asleepOf[lane] = asleepOf[lane] - asleep[me];
			asleep[me] = false;
			inside--;
			taken = taken & batch[me]; // batch[me] has lost what was reaped meanwhile
			inflight = inflight | taken;
			entering = entering & ~taken;
			if
			:: refused ->
				refused = false; stalled = true;
				entering = entering & ~batch[me];
				pend = pend | (batch[me] & ~taken);
				urgent[lane] = (pend & OF(lane)) != 0
			:: else
			fi;
			batch[me] = 0; taken = 0;
			senders[lane]--
		};
		if
		:: MAPPED && !token -> goto events
		:: else -> goto sendMore
		fi
	}
reap:
	atomic {
		!mu && ((kern & ~(HUNG)) != 0 || stalled || INFLIGHT == 0 || role == completer && state == watching);
		assert(!destroyed && token);
		token = false;
		if
		:: (kern & ~(HUNG) & 1) -> got = 1
		:: (kern & ~(HUNG) & 2) -> got = 2
		:: (kern & ~(HUNG) & 4) -> got = 4
		:: (kern & ~(HUNG) & 8) -> got = 8
		:: stalled || INFLIGHT == 0 || role == completer && state == watching -> stalled = false; goto reaped
		fi;
events: // which of them are there is up to the kernel
		b = 0;
		do
		:: b < N && (kern & ~(HUNG) & BIT(b)) -> got = got | BIT(b); b++
		:: b < N -> b++
		:: b == N -> b = 0; break
		od;
reaped:
		skip;
		d_step {
			assert((got & ~INFLIGHT) == 0);
			kern = kern & ~got;
			entering = entering & ~got;
			inflight = inflight & ~got;
			stalled = (stalled && got == 0);
			mine = got;
			b = 0;
			do
			:: b < DRIVERS -> batch[b] = batch[b] & ~got; b++
			:: else -> break
			od;
			b = 0; got = 0;
			state = (role == completer && !inSend -> working : state)
		};
		if
		:: mine != 0 -> goto settle
		:: mine == 0 && inSend -> goto sendMore
		:: else -> goto decide
		fi
	}
settle:
	skip;
	d_step { // no lock is held
		ready = mine & more;
		more = more & ~ready;
		mine = mine & ~ready;
		if
		:: (mine & 1) -> ended0 = 1; ready = ready | heldBack; heldBack = 0
		:: else
		fi;
		telling = telling + (mine != 0)
	}
	if
	:: mine == 0 -> goto settled
	:: else
	fi;
	d_step { // recycle
		!mu;
		b = 0;
		do
		:: b < N && (mine & BIT(b)) && slotWaiters > 0 -> slotWaiters--; given++; b++
		:: b < N && (mine & BIT(b)) && slotWaiters == 0 -> slots++; b++
		:: b < N && !(mine & BIT(b)) -> b++
		:: else -> break
		od;
		b = 0
	}
	do // deliver
	:: mine != 0 ->
		d_step { got = mine & -mine; mine = mine & ~got; resolved = resolved | got }
		if
		:: d_step { (counted & got) -> counted = counted & ~got }
			asks--
		:: !(counted & got)
		fi;
		d_step { done = done | got; got = 0 }
	:: else -> break
	od;
	telling--; // told
settled:
	atomic {
		!mu;
		d_step { queue(ready); ready = 0 };
		if
		:: inSend -> goto sendMore
		:: else -> goto decide
		fi
	}
expect: // with mu held
	atomic {
		if
		:: (counted & BIT(op)) -> goto expected
		:: else -> counted = counted | BIT(op)
		fi
	}
	asks++;
	atomic {
		if
		:: (resolved & BIT(op)) && (counted & BIT(op)) -> counted = counted & ~BIT(op)
		:: else -> goto expected
		fi
	}
	asks--;
expected:
	atomic { mu = false; at = idle; goto rousing }
nap:
	atomic { !mu; stalled = false; goto decide }
park:
	atomic {
		!mu && (wake || quit);
		if
		:: wake -> wake = false; goto decide
		:: quit -> running--; at = gone; goto rousing
		fi
	}
spawnedNext:
	atomic {
		!mu && starting[mylane] > 0;
		starting[mylane]--;
		lane = mylane; may = 2; rounds = 0;
		goto sendMore
	}
work:
	atomic { withWorker != 0 -> mine = withWorker & -withWorker; withWorker = withWorker & ~mine }
	goto settle;
wait:
	atomic { (done & BIT(op)); waits = waits & ~BIT(me) }
over:
	skip
}

inline lookAtSenders() {
	b = 0;
	do
	:: b < DRIVERS ->
		if
		:: call[b] && !asleep[b] ->
			again = true;
			if
			:: seenCall[b] && (b != current || hung[b] || mistakes > 0) ->
				asleep[b] = true;
				l = laneOf[b];
				asleepOf[l]++;
				urgent[l] = true;
				found = true;
				if
				:: b == current -> mistakes = mistakes - !hung[b]; current++; assert(current < SPAWNED); started++; running++; state = parked
				:: else
				fi
			:: else
			fi;
			seenCall[b] = true
		:: else
		fi;
		b++
	:: b == DRIVERS -> b = 0; break
	od
}

inline lookAtPending(i) {
	if
	:: (pend & OF(i)) != 0 ->
		if
		:: WATCHDOG == 2 && seenPending[i] && SENDABLE(i, 2) != 0 && !urgent[i] -> urgent[i] = true
		:: else
		fi;
		seenPending[i] = true;
		if
		:: SENDABLE(i, 2) != 0 -> again = true
		:: else
		fi
	:: else
	fi
}

proctype Watchdog() {
	byte b, l;
	bool again, found, alone;
	do
	:: atomic {
			!mu && on;
			on = false;
			again = newCalls;
			newCalls = false;
			lookAtSenders();
			lookAtPending(0);
			lookAtPending(1);
			alone = !token && AWAITED != 0;
			if
			:: WATCHDOG == 2 && alone && lonely -> asked = true
			:: else
			fi;
			lonely = alone;
			if
			:: WATCHDOG == 2 || found -> rouse()
			:: else
			fi;
			if
			:: again || alone -> watch()
			:: else
			fi;
			again = false; found = false; alone = false; l = 0
		}
	od
}

proctype Close() {
	atomic {
		!mu;
		closed = true;
		urgent[0] = (pend & OF(0)) != 0; urgent[1] = (pend & OF(1)) != 0;
		d_step { rouse() }
	}
	atomic { !mu && slots == DEPTH && given == 0 && telling == 0 }
	quit = true;
	running == 0;
	atomic { !mu && inside == 0 }
	atomic { !mu && !token }
	atomic { assert(inside == 0 && !token && INFLIGHT == 0 && kern == 0); destroyed = true }
}

// When nothing can move any more, whatever somebody asked for has ended.
proctype Monitor() {
	byte must;
	timeout;
	must = wanted_ & ~(HUNG);
	if
	:: hangs -> must = must & ~(A)
	:: else
	fi;
	assert((must & ~done) == 0);
	assert((waits & done) == 0 && (SECOND == 0 || !(waits & BIT(SECONDWAITER)) || !(done & 1)));
	assert(hangs || HUNG || AFTER || closed || (pend | INFLIGHT | heldBack) == 0 || (FORMS & 8));
	assert(hangs || HUNG || asks == 0);
	assert(!CLOSE || hangs || HUNG || destroyed)
}

init {
	byte i;
	atomic {
		i = 0;
		do
		:: i < N -> run Driver(i, lender, i, (A & BIT(i) -> 0 : 1)); i++
		:: else -> break
		od;
		if
		:: SECOND -> run Driver(SECONDWAITER, lender, 0, (A & 1 -> 0 : 1))
		:: else
		fi;
		i = COMPLETER;
		do
		:: i < SPAWNED -> run Driver(i, completer, 0, 0); i++
		:: else -> break
		od;
		run Driver(SPAWNED, spawned, 0, 0);
		run Driver(SPAWNED + 1, spawned, 0, 0);
		run Driver(SPAWNED + 2, spawned, 0, 1);
		if
		:: WORKER -> run Driver(WORKERS, aWorker, 0, 0)
		:: else
		fi;
		if
		:: WATCHDOG -> run Watchdog()
		:: else
		fi;
		if
		:: CLOSE -> run Close()
		:: else
		fi;
		run Monitor();
		i = 0
	}
}
