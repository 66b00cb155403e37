#!/bin/sh
# packages.sh lint|unit|e2e|bench|docs|release: installs the Debian packages that these need and that are
# missing. Where it can't, it says which, and with CI=true that is an error.
set -eu

case ${1-} in
lint) packages="shellcheck" ;;
unit) packages="gcc libc6-dev strace" ;; # for the race detector, and for errors of the kernel
e2e) packages="systemd-container debootstrap debian-archive-keyring buildah runc" ;;
docs) packages="mandoc" ;;
release) packages="apt-utils createrepo-c gnupg rpm" ;; # for the repositories
bench) packages="gcc libc6-dev libssl-dev iproute2 nginx-light libnginx-mod-stream" ;;
*)
	echo "usage: packages.sh lint|unit|e2e|bench|docs|release" >&2
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
	policy=/usr/sbin/policy-rc.d # no daemon is started for being installed
	if [ -e "$policy" ]; then
		trap 'rm -f "$log"' EXIT
	else
		trap 'rm -f "$log" "$policy"' EXIT
		printf '#!/bin/sh\n# while greetd installs what its tests need\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
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
