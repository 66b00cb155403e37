#!/bin/sh
# release.sh: makes in dist/ all that is published of a tagged commit: archives, packages,
# bills of material, the image, an apt and a yum repository with these packages, and SHA256SUMS
# of the files beside them. `make release` calls it; repositories.sh says how they are signed.
#
#   SOURCE_URL  of the git repository, for the image's labels and provenance
set -eu
cd "$(dirname "$0")/../.."
umask 022
export LC_ALL=C TZ=UTC

die() {
	echo "release: $*" >&2
	exit 1
}

go=${GO:-go}
tools=${TOOLS:-.cache/bin}
work=.cache/packages
architectures="amd64 arm64"

VERSION=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null) ||
	die "no tag like v1.2.0 is on this commit"
[ -z "$(git status --porcelain)" ] ||
	die "something is changed since $VERSION: git status"
sh deploy/packages/changelog.sh "$VERSION" >/dev/null
${MAKE:-make} --no-print-directory build BIN=bin
built=$($go version -m bin/greetd | awk '$1 == "mod" { print $3 }')
[ "$built" = "$VERSION" ] ||
	die "the go command calls this $built: the tag $VERSION is no version of this module"
version=${VERSION#v}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export VERSION SOURCE_DATE_EPOCH

rm -rf dist
mkdir dist
# shellcheck disable=SC2086 # a list
sh deploy/packages/packages.sh $architectures

# What install.sh needs is where it looks for it, so an archive can be installed from.
for arch in $architectures; do
	name=greetd_${version}_linux_$arch
	tree=$work/$name
	rm -rf "$tree"
	mkdir -p "$tree/docs"
	cp -R "$work/$arch/bin" configs deploy "$tree"
	rm -rf "$tree/deploy/packages"
	find "$tree/deploy" -name '*_test.go' -delete
	cp docs/*.[158] "$tree/docs"
	cp go.mod README.md CHANGELOG.md LICENSE "$tree"
	cat "$work/notices-greetd" "$work/notices-greetprobe" >"$tree/third-party-notices"
	tar --create --directory "$work" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" \
		--owner=0 --group=0 --numeric-owner --mode=u+rw,go=u-w "$name" | gzip -9n >"dist/$name.tar.gz"
	rm -rf "$tree"
	echo "dist/$name.tar.gz"

	for program in greetd greetprobe; do
		sbom=dist/${program}_${version}_linux_$arch.cdx.json
		"$tools"/cyclonedx-gomod bin -json -std -noserial -notimestamp -version "$VERSION" \
			-output "$sbom" "$work/$arch/bin/$program" >"$work/log" 2>&1 || {
			cat "$work/log" >&2
			exit 1
		}
		echo "$sbom"
	done
done

image=$work/image
rm -rf "$image"
set --
for arch in $architectures; do
	bills=dist/greetd_${version}_linux_$arch.cdx.json,dist/greetprobe_${version}_linux_$arch.cdx.json
	set -- "$@" "$arch=$work/$arch/bin,$bills"
done
"$tools"/image -o "$image" -version "$VERSION" -revision "$(git rev-parse HEAD)" -time "$SOURCE_DATE_EPOCH" \
	-source "${SOURCE_URL:-https://greetd.example}" "$@"
tar --create --directory "$image" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" \
	--owner=0 --group=0 --numeric-owner --mode=u+rw,go=u-w --file "dist/greetd_${version}_image.tar" .
rm -rf "$image"
echo "dist/greetd_${version}_image.tar"

sh deploy/packages/repositories.sh dist

(cd dist && find . -maxdepth 1 -type f -printf '%P\n' | sort | xargs sha256sum --) >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" dist/SHA256SUMS
echo dist/SHA256SUMS
