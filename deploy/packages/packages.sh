#!/bin/sh
# packages.sh ARCH...: makes the packages greetd-tcp and greetprobe, .deb and .rpm, for
# each of these architectures (amd64, arm64) in dist/. `make packages` calls it.
#
#   VERSION            v1.2.0 or v1.2.0-rc.1; empty: what the go command says of bin/greetd,
#                      which is the tag, or what comes between two tags
#   SOURCE_DATE_EPOCH  the time in the packages; empty: that of the commit
#
# The same commit and the same Go make the same bytes, in whatever folder.
set -eu
cd "$(dirname "$0")/../.."
umask 022
export LC_ALL=C TZ=UTC

go=${GO:-go}
tools=${TOOLS:-.cache/bin}
work=.cache/packages
maintainer="greetd maintainers <maintainers@greetd.example>"

: "${VERSION:=$($go version -m bin/greetd | awk '$1 == "mod" { print $3 }')}"
case $VERSION in
v[0-9]*) ;;
*) VERSION=v0.0.0-devel ;;
esac
# Both packagers sort 1.2.0~rc.1 before 1.2.0; neither wants another "-".
VERSION=$(echo "${VERSION#v}" | sed 's/-/~/; s/-/./g')
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y go.mod)}"
export VERSION SOURCE_DATE_EPOCH

# notices PROGRAM prints the licences and notices of everything that is linked into it.
# Nearly all of them ask for that.
notices() {
	rm -rf "$work/licences"
	if ! "$tools"/go-licenses save "./cmd/$1" --ignore "$(sed -n 's/^module //p' go.mod)" \
		--save_path "$work/licences" 2>"$work/log"; then
		cat "$work/log" >&2
		exit 1
	fi
	echo "$1 $VERSION contains, besides its own code (Apache-2.0), the following."
	notice "the Go standard library" "$($go env GOROOT)/LICENSE"
	find "$work/licences" -type f | sort | while read -r file; do
		notice "${file#"$work/licences/"}" "$file"
	done
}

notice() {
	printf '\n%s\n%s\n\n' "==== $1" "$(printf '%s' "==== $1" | sed 's/./=/g')"
	cat "$2"
}

# move FROM TO PATTERN... moves files from one tree to another.
move() {
	from=$1 to=$2
	shift 2
	for pattern; do
		(cd "$from" && find . "(" -type f -o -type l ")" -path "./$pattern") | while read -r file; do
			mkdir -p "$to/$(dirname "$file")"
			mv "$from/$file" "$to/$file"
		done
	done
}

# rpm_changelog prints CHANGELOG.md as nfpm wants it. What is unreleased belongs to this version.
rpm_changelog() {
	awk -v version="$(echo "$VERSION" | tr '~' -)" -v date="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)" -v packager="$maintainer" '
		/^## / {
			changes = 0
			title = $2; released = $4
			gsub(/[][]/, "", title)
			if (title == "Unreleased") { title = version; released = date }
			next
		}
		/^- / {
			if (!changes++)
				printf "- semver: %s\n  date: %sT12:00:00Z\n  packager: %s\n  changes:\n", title, released, packager
			print "    - note: |-"
			sub(/^- /, "")
		}
		changes && NF && !/^#/ { sub(/^ +/, ""); print "        " $0 }
	' CHANGELOG.md
}

# documents PACKAGE PROGRAM adds what each package has to tell of itself to the trees that
# only one packager takes. rpm wants documents and licences named.
documents() {
	tree=$stage/$1
	doc=usr/share/doc/$1
	mkdir -p "$tree/deb/$doc" "$tree/deb/usr/share/lintian/overrides" "$tree/rpm" "$tree/doc/$doc" "$tree/license/usr/share/licenses/$1"
	move "$tree/all" "$tree/doc" 'usr/share/doc/*' 'usr/share/man/*'
	cp -R "$tree/doc/usr" "$tree/deb"

	{
		echo "$1 ($VERSION-1) unstable; urgency=medium"
		echo
		echo "  * What is new is in changelog.gz."
		echo
		echo " -- $maintainer  $(date -R -d "@$SOURCE_DATE_EPOCH")"
	} | gzip -9n >"$tree/deb/$doc/changelog.Debian.gz"
	gzip -9n <CHANGELOG.md >"$tree/deb/$doc/changelog.gz"
	gzip -9n <"$work/notices-$2" >"$tree/deb/$doc/third-party-notices.gz"
	cp deploy/packages/deb/copyright "$tree/deb/$doc/copyright"
	cp "deploy/packages/deb/$1.lintian-overrides" "$tree/deb/usr/share/lintian/overrides/$1"

	cp CHANGELOG.md "$tree/doc/$doc"
	cp LICENSE "$tree/license/usr/share/licenses/$1"
	cp "$work/notices-$2" "$tree/license/usr/share/licenses/$1/third-party-notices"
	{
		cat "deploy/packages/$1.yaml"
		for type in doc license; do
			find "$tree/$type" -type d -path "*/share/*/$1*" -printf "  - {dst: \"/%P\", type: dir, packager: rpm}\n" | sort
			find "$tree/$type" -type f -printf "  - {src: \"%p\", dst: \"/%P\", type: $type, packager: rpm}\n" | sort
		done
	} >"$tree.yaml"

	# Debian's zsh looks elsewhere.
	site=usr/share/zsh/site-functions
	vendor=usr/share/zsh/vendor-completions
	mkdir -p "$tree/deb/$vendor" "$tree/rpm/$site"
	cp "$tree/all/$site"/_* "$tree/deb/$vendor"
	mv "$tree/all/$site"/_* "$tree/rpm/$site"
	rmdir "$tree/all/$site"
}

# make_packages ARCH
make_packages() {
	export ARCH="$1"
	stage=$work/$ARCH
	export STAGE="$stage"
	rm -rf "$stage"
	mkdir -p "$stage"
	GOARCH=$ARCH ${MAKE:-make} --no-print-directory build BIN="$stage/bin"

	all=$stage/greetd-tcp/all
	BIN=$stage/bin DESTDIR=$all PREFIX=/usr SYSTEMD_UNIT_DIR="" sh deploy/install.sh
	# The packagers keep a changed configuration by their own means.
	rm -r "$all/usr/share/greetd-tcp"
	move "$all" "$stage" etc/greetd/greetd.yaml
	rm -r "${all:?}/etc"
	find "$all/usr/share/man" -type f -exec gzip -9n {} +
	move "$all" "$stage/greetprobe/all" usr/bin/greetprobe 'usr/lib/systemd/system/greetprobe*' 'usr/share/man/*/greetprobe.*' \
		'usr/lib/nagios/plugins/*' 'usr/share/doc/greetprobe/*' \
		'usr/share/bash-completion/*/greetprobe' 'usr/share/fish/*/greetprobe.fish' 'usr/share/zsh/*/_greetprobe'
	documents greetd-tcp greetd
	documents greetprobe greetprobe
	rm "$stage/greetprobe/all/usr/lib/nagios/plugins/check_greet" # greetprobe.yaml has it
	find "$stage" -type d -empty -delete
	chmod -R u=rwX,go=rX "$stage" # whatever umask the checkout had
	find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

	for package in greetd-tcp greetprobe; do
		file=$(echo "$VERSION" | tr '~' -) # forges rename files that have a tilde
		for type in deb rpm; do
			if [ $type = rpm ]; then # a .deb has its own
				echo "changelog: $work/changelog.yaml" >>"$stage/$package.yaml"
			fi
			"$tools"/nfpm package --config "$stage/$package.yaml" --packager $type \
				--target "dist/${package}_${file}_$ARCH.$type" >"$work/log" 2>&1 || {
				cat "$work/log" >&2
				exit 1
			}
			echo "dist/${package}_${file}_$ARCH.$type"
		done
	done
}

mkdir -p dist "$work"
for program in greetd greetprobe; do
	notices $program >"$work/notices-$program"
done
rpm_changelog >"$work/changelog.yaml"
for arch; do
	make_packages "$arch"
done
