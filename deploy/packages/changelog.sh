#!/bin/sh
# changelog.sh [TAG...]: prints what CHANGELOG.md has of these versions, and fails where it
# has nothing; without arguments it looks for every tag, and prints nothing.
# A pre-release (v1.2.0-rc.1) is what is unreleased.
set -eu
cd "$(dirname "$0")/../.."

section() {
	case $1 in
	*-*) title=Unreleased ;;
	*) title=${1#v} ;;
	esac
	awk -v title="$title" '
		/^## / { wanted = ($2 == title || $2 == "[" title "]"); next }
		wanted { if (NF || text) text = text $0 "\n" }
		END { if (text !~ /[^\n]/) exit 1; sub(/\n+$/, "\n", text); printf "%s", text }
	' CHANGELOG.md || {
		echo "CHANGELOG.md has no section \"## $title\", or nothing in it, for the tag $1" >&2
		return 1
	}
}

if [ $# -gt 0 ]; then
	for tag; do
		section "$tag"
	done
else
	missing=0
	for tag in $(git tag --list 'v[0-9]*' 2>/dev/null); do
		section "$tag" >/dev/null || missing=1
	done
	exit $missing
fi
