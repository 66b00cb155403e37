#!/bin/sh
# api.sh APIDIFF compares what pkg/... exports with the last tag: what others build on does
# not break. Adding is no break.
set -eu
apidiff=$(realpath "$1")
if ! tag=$(git describe --tags --abbrev=0 --match='v[0-9]*' 2>/dev/null); then
	echo "make api: there is no tag yet, and so no API that must not break"
	exit 0
fi
old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
git archive "$tag" | tar -x -C "$old"
broken=
for package in $(cd "$old" && ${GO:-go} list ./pkg/... | grep -v /internal/); do
	(cd "$old" && "$apidiff" -w "$old/api" "$package")
	changes=$("$apidiff" -incompatible "$old/api" "$package" 2>&1) || changes="it can't be loaded: $changes"
	if [ -n "$changes" ]; then
		broken=yes
		printf '%s breaks who uses %s:\n%s\n' "$package" "$tag" "$changes" >&2
	fi
done
[ -z "$broken" ]
