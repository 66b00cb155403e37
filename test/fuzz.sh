#!/bin/sh
# fuzz.sh TIME PACKAGE...: runs each fuzz target of the packages for TIME, such as 30s.
# What it finds goes to testdata/fuzz of the package: commit it with the fix.
set -eu
time=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz TARGET PACKAGE fails if something was found. Go's fuzzer itself fails with "context deadline
# exceeded" where a worker does not answer when TIME is over, as on a busy machine: nothing was found then.
fuzz() {
	# Minimising can take longer than finding; bounded, the time goes into new inputs.
	if go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" -fuzzminimizetime 50x "$2" >"$log" 2>&1; then
		cat "$log"
		return 0
	fi
	cat "$log"
	if grep -q '^ *context deadline exceeded$' "$log" && ! grep -Eq 'Failing input written|panic:|fatal error|_test\.go:' "$log"; then
		echo "fuzz $2 $1: its time was over, nothing was found"
		return 0
	fi
	return 1
}

for package in $(go list "$@"); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "fuzz $package $target for $time"
		fuzz "$target" "$package"
	done
done
