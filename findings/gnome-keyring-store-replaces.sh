#!/usr/bin/env bash
# gnome-keyring 42.1 (Debian 12): a program that stores a secret under a few attributes takes the place of another
# program's item that has these attributes and more. Its secret, its label and its other attributes are gone, and
# nobody gets an error. The Secret Service API lets CreateItem replace an item "with the same attributes"; this
# service looks for one as a search does, where more attributes do no harm. The other way round there are two items.
# libsecret's secret-tool 0.20.5 and zalando/go-keyring v0.2.8 both ask to replace, so two programs that call the
# same service and user by name take each other's secrets away.
#
# Seen on Debian 12 with Go 1.26. A is stored under service, username and realm, B under service and username:
#   A, then B by secret-tool:  items 1, realm finds nothing
#   A, then B by go-keyring:   items 1, realm finds nothing
#   B, then A by secret-tool:  items 2, realm finds A
#
# It unpacks Debian's packages in a temporary folder, whose libraries must be installed (apt-get install gnome-keyring
# libsecret-1-0), and starts a message bus of its own. It needs apt-get, dpkg-deb, dbus-daemon and go.
set -euo pipefail
dir=$(mktemp -d)
# shellcheck disable=SC2317
cleanup() {
	for process in ${keyring:-} ${bus:-}; do kill "$process" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
apt-get -q -o APT::Sandbox::User=root download gnome-keyring=42.1-1+b2 libsecret-tools=0.20.5-3 >apt.log 2>&1 || { cat apt.log; exit 1; }
for package in ./*.deb; do dpkg-deb -x "$package" root; done
mkdir set
cat >set/main.go <<'GO'
package main

import (
	"os"

	"github.com/zalando/go-keyring"
)

func main() {
	if err := keyring.Set(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		panic(err)
	}
}
GO
(
	cd set
	GOFLAGS=-mod=mod go mod init set >/dev/null 2>&1
	go get github.com/zalando/go-keyring@v0.2.8 >get.log 2>&1
	go build -o ../go-keyring .
)

mkdir -m 700 home
export HOME=$dir/home XDG_RUNTIME_DIR=$dir/home XDG_DATA_HOME=$dir/home/data XDG_CONFIG_HOME=$dir/home/config
unset DISPLAY WAYLAND_DISPLAY
# No service of the machine is started on it.
cat >bus.conf <<CONF
<busconfig>
<type>session</type>
<listen>unix:path=$dir/bus</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
CONF
dbus-daemon --config-file=bus.conf --nofork 2>bus.log &
bus=$!
export DBUS_SESSION_BUS_ADDRESS=unix:path=$dir/bus
for _ in $(seq 100); do
	if [ -S bus ]; then break; fi
	sleep 0.1
done
printf any | root/usr/bin/gnome-keyring-daemon --unlock --foreground --components=secrets >keyring.log 2>&1 &
keyring=$!
tool() { timeout 60 root/usr/bin/secret-tool "$@"; }
for _ in $(seq 100); do
	if tool search any any >/dev/null 2>&1; then break; fi
	sleep 0.1
done

store_a() { printf A | tool store --label=A service "$1" username me realm there; }
store_b() { printf B | tool store --label=B service "$1" username me; }
seen() { # SERVICE: how many items it has, and what the realm finds
	local items realm
	items=$(tool search --all service "$1" 2>/dev/null | grep -c '^secret = ') || true
	realm=$(tool lookup service "$1" realm there) || realm=nothing
	echo "items $items, realm finds $realm"
}
store_a first
[ "$(seen first)" = "items 1, realm finds A" ]
store_b first
store_a second
timeout 60 ./go-keyring second me B
store_b third
store_a third
first=$(seen first) second=$(seen second) third=$(seen third)

root/usr/bin/gnome-keyring-daemon --version | sed -n 1p
echo "A, then B by secret-tool:  $first"
echo "A, then B by go-keyring:   $second"
echo "B, then A by secret-tool:  $third"
if [ "$first $second $third" != "items 1, realm finds nothing items 1, realm finds nothing items 2, realm finds A" ]; then
	echo "CHANGED"
	exit 1
fi
