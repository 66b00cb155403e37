#!/bin/sh
# racehunt.sh TIME: runs the tests of pkg/service and pkg/systemd under the race detector, in another
# order each time, until TIME is over, such as 10m, or one fails. The seed of the order is printed.
set -eu
export CGO_ENABLED=1
number=${1%[smh]}
case $1 in
*h) seconds=$((number * 3600)) ;;
*m) seconds=$((number * 60)) ;;
*) seconds=$((number)) ;;
esac
end=$(($(date +%s) + seconds))
rounds=0
while [ "$(date +%s)" -lt "$end" ]; do
	go test -race -count=1 -shuffle=on -timeout=20m ./pkg/service/... ./pkg/systemd
	rounds=$((rounds + 1))
done
echo "race-hunt: $rounds rounds, and no race"
