#!/usr/bin/env bash
# promtool.sh FOLDER puts promtool there, out of Debian's package of Prometheus. The package
# itself is not installed, for it starts a server.
set -euo pipefail
into=$1
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
	echo 'promtool is missing, and this is no Debian: put it into the PATH'
	exit 1
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
echo 'fetching promtool'
fetch() { apt-get download -q prometheus >log 2>&1; }
# Lists may be missing, or name a version that is gone. Only root may renew them.
fetch || { [ "$(id -u)" = 0 ] && apt-get update -q >>log 2>&1 && fetch; } || {
	cat log
	echo 'apt-get could not fetch the package prometheus, which has promtool'
	exit 1
}
dpkg-deb --extract prometheus_*.deb .
mkdir -p "$into"
install usr/bin/promtool "$into/"
"$into/promtool" --version 2>&1 | sed 1q
