#!/bin/sh
# install.sh [uninstall]: puts what `make build` made where the distribution has such
# things, or takes it away again. `make install` and `make uninstall` call it; in an
# archive of a release it works by itself.
#
#   DESTDIR           goes before every path; empty: this machine, and systemd is told
#   PREFIX            /usr/local (the default) or /usr; with another one systemd's files
#                     go to /usr/local/lib all the same, where systemd looks
#   SYSTEMD_UNIT_DIR  for the units, instead of PREFIX/lib/systemd/system
#   BIN               the folder of the programs to install: bin, if it is not set; those for
#                     another machine are elsewhere, and bin has some that run on this one
set -eu
umask 022 # others must be able to read what is installed, and to enter its directories
cd "$(dirname "$0")/.."

die() {
	echo "install: $*" >&2
	exit 1
}

DESTDIR=${DESTDIR-}
PREFIX=${PREFIX:-/usr/local}
case $PREFIX in
/usr | /usr/local) lib=$PREFIX/lib ;;
*[!A-Za-z0-9._/+-]* | [!/]*) die "PREFIX must be an absolute path without spaces: '$PREFIX'" ;;
*) lib=/usr/local/lib ;;
esac
units=${SYSTEMD_UNIT_DIR:-$lib/systemd/system}
shared=$PREFIX/share/greetd-tcp
schema=$PREFIX/share/greetd/greetd.schema.json # an editor finds it by the first line of the configuration
examples=$PREFIX/share/doc/greetd-tcp/examples
exporter_example=$PREFIX/share/doc/greetprobe/examples/exporter.yaml
plugin=$lib/nagios/plugins/check_greet
config=/etc/greetd/greetd.yaml
programs="greetd greetprobe"
shells="bash zsh fish"
module=$(sed -n 's/^module //p' go.mod) # every program of ours carries it in its build info

# login_manager prints each sign of Debian's greetd, the login manager, one a line.
login_manager() {
	if command -v dpkg-query >/dev/null; then
		state=$(dpkg-query --admindir="$DESTDIR/var/lib/dpkg" -W -f '${db:Status-Status}' greetd 2>/dev/null || true)
		case $state in
		'' | not-installed) ;;
		*) echo "the package greetd is there ($state)" ;;
		esac
	fi
	for file in /usr/sbin/greetd /usr/bin/greetd /usr/local/sbin/greetd /usr/local/bin/greetd; do
		if [ -e "$DESTDIR$file" ] && ! grep -aqF "$module" "$DESTDIR$file"; then
			echo "$DESTDIR$file is another program"
		fi
	done
	if [ -e "$DESTDIR/etc/pam.d/greetd" ]; then
		echo "$DESTDIR/etc/pam.d/greetd exists"
	fi
	for folder in /etc /run /usr/local/lib /usr/lib /lib; do
		link=$DESTDIR$folder/systemd/system/display-manager.service
		case $(readlink "$link" || true) in
		greetd.service | */greetd.service) echo "$link is a link to greetd.service" ;;
		esac
		unit=$DESTDIR$folder/systemd/system/greetd.service
		if [ -f "$unit" ] && grep -q '^Alias=.*display-manager\.service' "$unit"; then
			echo "$unit has the alias display-manager.service"
		fi
	done
	if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
		case " $(systemctl show --property=Names --value greetd.service) " in
		*' display-manager.service '*) echo "greetd.service is also display-manager.service" ;;
		esac
	fi
}

# put MODE FILE PATH installs one file.
put() {
	install -D -m "$1" "$2" "$DESTDIR$3"
}

# put_adapted FILE PATH installs a text in which our paths begin with PREFIX.
put_adapted() {
	mkdir -p "$DESTDIR$(dirname "$2")"
	sed "s|/usr/local/|$PREFIX/|g" "$1" >"$DESTDIR$2.tmp"
	chmod 644 "$DESTDIR$2.tmp"
	mv "$DESTDIR$2.tmp" "$DESTDIR$2"
}

# put_config never overwrites what somebody has changed: the copy of what was installed
# last tells.
put_config() {
	put_adapted configs/greetd.yaml "$shared/greetd.yaml.next"
	mine=$DESTDIR$shared/greetd.yaml.next
	theirs=$DESTDIR$config
	mkdir -p "$theirs.d"
	if [ ! -e "$theirs" ] || cmp -s "$theirs" "$DESTDIR$shared/greetd.yaml"; then
		put 644 "$mine" $config
		rm -f "$theirs.new"
	elif cmp -s "$mine" "$theirs"; then
		rm -f "$theirs.new"
	else
		put 644 "$mine" $config.new
		echo "install: $theirs was changed and stays as it is; the new one is $theirs.new" >&2
	fi
	mv "$mine" "$DESTDIR$shared/greetd.yaml"
}

# man_page FILE prints the path at which a manual page is installed.
man_page() {
	echo "$PREFIX/share/man/man${1##*.}/$(basename "$1")"
}

# completion PROGRAM SHELL prints the path at which a completion is installed.
completion() {
	case $2 in
	bash) echo "$PREFIX/share/bash-completion/completions/$1" ;;
	zsh) echo "$PREFIX/share/zsh/site-functions/_$1" ;;
	fish) echo "$PREFIX/share/fish/vendor_completions.d/$1.fish" ;;
	esac
}

# plugin_target prints what the plugin's link leads to: the program, by a relative path if they
# share a prefix, so that it holds in another root, too.
plugin_target() {
	case $plugin in
	"$PREFIX"/*) echo ../../../bin/greetprobe ;;
	*) echo "$PREFIX/bin/greetprobe" ;;
	esac
}

# put_completions lets the programs write them.
put_completions() {
	for program in $programs; do
		for shell in $shells; do
			path=$DESTDIR$(completion "$program" "$shell")
			mkdir -p "$(dirname "$path")"
			"bin/$program" completion "$shell" >"$path"
			chmod 644 "$path"
		done
	done
}

# refuse_beside_login_manager ends the script, before anything was changed.
refuse_beside_login_manager() {
	signs=$(login_manager)
	if [ -n "$signs" ]; then
		{
			echo "install: there is a login manager of the same name here:"
			echo "$signs" | sed 's/^/  /'
			echo "With our greetd.service beside it the login screen would be gone. Nothing was changed."
			echo "Purge it (apt-get purge greetd) if you do not log in by it, or choose another machine."
		} >&2
		exit 1
	fi
}

# other_unit prints the path of a greetd.service that is not ours: of the package, or of an
# installation with another PREFIX.
other_unit() {
	for folder in /usr/local/lib /usr/lib; do
		other=$DESTDIR$folder/systemd/system/greetd.service
		if [ -e "$other" ] && [ "$folder/systemd/system" != "$units" ]; then
			echo "$other"
			return
		fi
	done
}

# refuse_to_overwrite ends the script if a package has files where it would write.
refuse_to_overwrite() {
	if [ "$PREFIX" != /usr ]; then
		return
	fi
	for package in greetd-tcp greetprobe; do
		if [ -e "$DESTDIR/var/lib/dpkg/info/$package.list" ]; then
			die "the package $package is installed in /usr: remove it (apt-get remove $package), or leave PREFIX at /usr/local"
		fi
		# A query would make a database where there is none.
		if command -v rpm >/dev/null && [ -d "$DESTDIR$(rpm --eval %_dbpath)" ] &&
			rpm --root "${DESTDIR:-/}" --query "$package" >/dev/null 2>&1; then
			die "the package $package is installed in /usr: remove it (dnf remove $package), or leave PREFIX at /usr/local"
		fi
	done
}

do_install() {
	refuse_to_overwrite
	other=$(other_unit)
	put 755 "${BIN:-bin}/greetd" "$PREFIX/sbin/greetd"
	put 755 "${BIN:-bin}/greetprobe" "$PREFIX/bin/greetprobe"
	mkdir -p "$DESTDIR$(dirname "$plugin")"
	ln -sfn "$(plugin_target)" "$DESTDIR$plugin"
	put_completions
	for file in deploy/systemd/*.service deploy/systemd/*.socket deploy/systemd/*.timer; do
		put_adapted "$file" "$units/$(basename "$file")"
	done
	for file in deploy/systemd/examples/*; do
		put_adapted "$file" "$examples/$(basename "$file")"
	done
	put_adapted deploy/prometheus/exporter.yaml "$exporter_example"
	for file in deploy/prometheus/*[!o] deploy/grafana/*.json; do # all but tests in Go
		put_adapted "$file" "$examples/${file#deploy/}"
	done
	put 644 deploy/systemd/greetd-tcp.conf "$lib/sysusers.d/greetd-tcp.conf"
	put 644 deploy/systemd/greetd-tcp.catalog "$lib/systemd/catalog/greetd-tcp.catalog"
	for file in docs/*.[158]; do
		put_adapted "$file" "$(man_page "$file")"
	done
	put 644 configs/greetd.schema.json "$schema"
	put_config
	case $other in
	'') ;;
	*/usr/local/*) echo "install: $other is there too, and comes first: uninstall that one" >&2 ;;
	*) echo "install: $other (of a package?) is there too: what was installed now comes first; \`make uninstall' brings that one back" >&2 ;;
	esac

	if [ -n "$DESTDIR" ]; then
		return
	fi
	if command -v systemd-sysusers >/dev/null; then
		systemd-sysusers "$lib/sysusers.d/greetd-tcp.conf"
	fi
	if command -v journalctl >/dev/null; then
		journalctl --update-catalog
	fi
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
		if systemctl --quiet is-active greetd.service; then
			echo "greetd still runs the old version: systemctl restart greetd"
		else
			echo "greetd is installed: systemctl enable --now greetd"
		fi
	fi
}

do_uninstall() {
	refuse_to_overwrite
	other=$(other_unit)
	if [ -n "$other" ]; then
		echo "install: $other stays, and what runs goes on with it" >&2
	elif [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
		systemctl --quiet disable --now greetd.socket greetd.service || true
		systemctl --quiet disable --now greetprobe.timer greetprobe-exporter.socket greetprobe-exporter.service || true
		systemctl stop 'greetd@*.socket' 'greetd@*.service' || true
	fi
	for link in "$DESTDIR"/etc/systemd/system/*.wants/greetd@*.service "$DESTDIR"/etc/systemd/system/*.wants/greetd@*.socket; do
		if [ -z "$other" ]; then
			rm -f "$link"
		fi
	done
	for file in deploy/systemd/*.service deploy/systemd/*.socket deploy/systemd/*.timer; do
		rm -f "$DESTDIR$units/$(basename "$file")"
	done
	for file in docs/*.[158]; do
		rm -f "$DESTDIR$(man_page "$file")"
	done
	for program in $programs; do
		for shell in $shells; do
			rm -f "$DESTDIR$(completion "$program" "$shell")"
		done
	done
	rm -f "$DESTDIR$PREFIX/sbin/greetd" "$DESTDIR$PREFIX/bin/greetprobe" \
		"$DESTDIR$lib/sysusers.d/greetd-tcp.conf" "$DESTDIR$lib/systemd/catalog/greetd-tcp.catalog" "$DESTDIR$schema"
	rmdir "$DESTDIR$(dirname "$schema")" 2>/dev/null || true
	rm -f "$DESTDIR$plugin" "$DESTDIR$exporter_example"
	rm -rf "$DESTDIR$shared" "$DESTDIR$(dirname "$examples")"
	if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
		journalctl --update-catalog
		systemctl daemon-reload
		if [ -n "$other" ]; then
			systemctl try-restart greetd.service greetprobe-exporter.service 'greetd@*.service' || true
		fi
	fi
	echo "greetd is gone from $DESTDIR$PREFIX; $DESTDIR/etc/greetd stays, and so does the user greetd-tcp" >&2
}

refuse_beside_login_manager
case ${1-install} in
install) do_install ;;
uninstall) do_uninstall ;;
*) die "usage: install.sh [uninstall]" ;;
esac
