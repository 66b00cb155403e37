#!/bin/sh
# licences.sh GO-LICENSES: fails unless everything that go.mod brings has a licence that we
# may use.
set -eu

# What only other systems or other people's tests link is checked by its name.
linked=$(go list -deps -test -f '{{with .Module}}{{.Path}}{{end}}' ./...)
others=$(sed -n 's/^\t\([^ ]*\) .*/\1/p' go.mod | while read -r module; do
	echo "$linked" | grep -qxF "$module" || echo "$module/..."
done)
# shellcheck disable=SC2086 # a list
exec "$1" check --include_tests --logtostderr=false --stderrthreshold=ERROR \
	--allowed_licenses=Apache-2.0,BSD-2-Clause,BSD-3-Clause,ISC,MIT,MPL-2.0 ./... $others
