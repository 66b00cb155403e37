#!/bin/sh
# fuzz.sh TIME PACKAGE...: runs each fuzz target of the packages for TIME, such as 30s.
# What it finds goes to testdata/fuzz of the package: commit it with the fix.
set -eu
time=$1
shift
for package in $(go list "$@"); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "fuzz $package $target for $time"
		# Minimising can take longer than finding; bounded, the time goes into new inputs.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 50x "$package"
	done
done
