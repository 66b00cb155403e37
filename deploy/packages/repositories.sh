#!/bin/sh
# repositories.sh DIST: makes of the packages in DIST an apt repository, DIST/apt, and a yum
# repository, DIST/yum, and signs these and the .rpm themselves. release.sh calls it.
#
#   SIGNING_KEY        the OpenPGP private key, in ASCII armour, without a passphrase
#   UNSIGNED           yes: make unsigned repositories if there is no key
#   REPOSITORY_URL     where apt/ and yum/ will be published, for greetd.sources and greetd.repo
#   SOURCE_DATE_EPOCH  the time in the indexes
set -eu
umask 022
export LC_ALL=C TZ=UTC

die() {
	echo "repositories: $*" >&2
	exit 1
}

cd "$1"
url=${REPOSITORY_URL:-https://greetd.example}
if [ -z "${SIGNING_KEY-}" ] && [ "${UNSIGNED-}" != yes ]; then
	echo "no apt and no yum repository: SIGNING_KEY has no key to sign them with (UNSIGNED=yes makes unsigned ones)" >&2
	exit
fi
for need in apt-ftparchive=apt-utils createrepo_c=createrepo-c gpg=gnupg rpmsign=rpm; do
	command -v "${need%=*}" >/dev/null || die "no ${need%=*} here: apt-get install ${need#*=}"
done

# The key is in a keyring of its own, which goes with this script.
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
key=
if [ -n "${SIGNING_KEY-}" ]; then
	printf '%s\n' "$SIGNING_KEY" | gpg --batch --quiet --import || die "SIGNING_KEY is no private key in ASCII armour"
	key=$(gpg --batch --with-colons --list-secret-keys | awk -F: '$1 == "fpr" { print $10; exit }')
	[ -n "$key" ] || die "SIGNING_KEY is a public key: it can't sign"
fi

# sign MODE FILE OUTPUT
sign() {
	gpg --batch --quiet --yes --pinentry-mode loopback --passphrase '' --local-user "$key" \
		--digest-algo SHA512 --armor "$1" --output "$3" "$2" || die "the key $key can't sign $2"
}

rm -rf apt yum
mkdir -p apt/pool yum
if [ -n "$key" ]; then
	for package in *.rpm; do
		rpmsign --define "_gpg_name $key" --define "__gpg $(command -v gpg)" --define "_gpg_sign_cmd_extra_args --batch --pinentry-mode loopback --passphrase ''" \
			--addsign "$package" >"$GNUPGHOME/log" 2>&1 || die "$package: $(cat "$GNUPGHOME/log")"
	done
fi
cp -- *.deb apt/pool
cp -- *.rpm yum
touch -d "@$SOURCE_DATE_EPOCH" apt/pool/* yum/*

cd apt
architectures=
for package in pool/greetd-tcp_*.deb; do
	arch=$(dpkg-deb --field "$package" Architecture)
	architectures="$architectures $arch"
	index=dists/stable/main/binary-$arch
	mkdir -p "$index"
	apt-ftparchive --arch "$arch" packages pool >"$index/Packages"
	gzip -9nk "$index/Packages"
done
release=dists/stable/Release
apt-ftparchive -o APT::FTPArchive::Release::Origin=greetd -o APT::FTPArchive::Release::Label=greetd \
	-o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Codename=stable \
	-o APT::FTPArchive::Release::Components=main -o "APT::FTPArchive::Release::Architectures=${architectures# }" \
	-o "APT::FTPArchive::Release::Date=$(date -u -R -d "@$SOURCE_DATE_EPOCH")" release dists/stable >"$GNUPGHOME/Release"
mv "$GNUPGHOME/Release" "$release"
chmod 644 "$release"
cd ..

createrepo_c --quiet --no-database --simple-md-filenames --revision "$SOURCE_DATE_EPOCH" --set-timestamp-to-revision yum
if [ -n "$key" ]; then
	sign --clearsign "apt/$release" apt/dists/stable/InRelease
	sign --detach-sign "apt/$release" "apt/$release.gpg"
	sign --detach-sign yum/repodata/repomd.xml yum/repodata/repomd.xml.asc
	gpg --batch --armor --export "$key" >apt/greetd.asc
	cp apt/greetd.asc yum/greetd.asc
	cp apt/greetd.asc .
	signed="Signed-By: /etc/apt/keyrings/greetd.asc" check=1
else
	signed="Trusted: yes" check=0
fi

# For /etc/apt/sources.list.d, where greetd.asc belongs in /etc/apt/keyrings, and /etc/yum.repos.d.
cat >apt/greetd.sources <<EOF
Types: deb
URIs: $url/apt
Suites: stable
Components: main
$signed
EOF
cat >yum/greetd.repo <<EOF
[greetd]
name=greetd
baseurl=$url/yum
enabled=1
gpgcheck=$check
repo_gpgcheck=$check
gpgkey=$url/yum/greetd.asc
EOF
echo "$1/apt" "$1/yum" | tr ' ' '\n'
