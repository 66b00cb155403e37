#!/bin/sh
# packages.sh lint|unit|e2e: installs the Debian packages that these need and that are
# missing. Where it can't, it says which, and with CI=true that is an error.
set -eu

case ${1-} in
lint) packages="shellcheck" ;;
unit) packages="gcc libc6-dev" ;; # for the race detector
e2e) packages="systemd-container debootstrap debian-archive-keyring buildah runc" ;;
*)
	echo "usage: packages.sh lint|unit|e2e" >&2
	exit 64
	;;
esac

missing=
for package in $packages; do
	if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then
		missing="$missing $package"
	fi
done
if [ -z "$missing" ]; then
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	problem="this is no Debian"
elif [ "$(id -u)" -ne 0 ]; then
	problem="only root can install them"
else
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of names
	if { apt-get update || true; apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
		exit 0
	fi
	cat "$log" >&2
	problem="apt-get could not install them"
fi
echo "make $1 will skip what needs these Debian packages:$missing ($problem)" >&2
[ "${CI-}" != true ]
