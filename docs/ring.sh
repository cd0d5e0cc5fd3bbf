#!/usr/bin/env bash
# Checks docs/ring.pml in several configurations with Spin (apt-get install spin) and
# a C compiler. Prints how many states each has. With "long" the larger ones, too.
set -euo pipefail
model=$(cd "$(dirname "$0")" && pwd)/ring.pml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

check() {
  spin -a "$@" "$model" >spin.out || { cat spin.out; exit 1; }
  gcc -O1 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=4096 -DMEMLIM=8000 -o pan pan.c
  ./pan -E -m100000 >pan.out
  # Not all states seen, or an assertion that failed: spin -t -p has the way there.
  if ! grep -q 'errors: 0' pan.out || grep -q 'Search not completed\|depth too small' pan.out; then
    cat pan.out
    spin -t -p "$@" "$model" | tail -200
    exit 1
  fi
  echo "$*: $(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.out) states, $(sed -n 's/.*elapsed time //p' pan.out)"
}

two="-DN=2 -DFORMS=7" # two operations; Wait, Done, or a Queue's
check $two -DDEPTH=1 -DCLOSE=1
check -DN=2 -DFORMS=12 -DCLOSE=1 # and nobody asks but Close
check $two -DA=3 -DAFTER=2
check $two -DMAPPED=0 -DWATCHING=1
check -DN=2 -DA=3 -DFORMS=1 -DWORKER=1 -DHUNG=2
check $two -DA=3 -DHUNG=2
if [ "${1-}" = long ]; then
  check $two -DA=3 -DHUNG=2 -DSECOND=1
  check $two -DAGAINS=1
  check $two -DCLOSE=1
  check $two -DA=3 -DMORE=1
  check $two -DSECOND=1
  check -DN=2 -DFORMS=1 -DWATCHDOG=1 -DSLEEPS=1
fi
