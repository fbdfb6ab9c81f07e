#!/usr/bin/env bash
# rsyslog 8.2302.0 (Debian 12) and a message of RFC 5424 on a local socket: util-linux's logger 2.38 sends
# one with --rfc5424. With imuxsock's defaults rsyslog reads it in the older form that syslog(3) writes: the
# version number becomes the name of the program, and the rest of the header stands in the text. The field
# PROTOCOL-VERSION is 0 then. With useSpecialParser="off" the same bytes are read as they are meant. So a
# program that sends RFC 5424 needs a socket of its own, and not /dev/log.
#
# Seen on Debian 12:
#   default:               version 0, program "1", msgid "-"
#   useSpecialParser=off:  version 1, program "audit", msgid "approved"
#
# It unpacks Debian's packages in a temporary folder, and needs apt-get, dpkg-deb and logger.
set -euo pipefail
dir=$(mktemp -d)
# shellcheck disable=SC2317
cleanup() {
	if [ -n "${daemon:-}" ]; then kill "$daemon" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap cleanup EXIT
chmod 755 "$dir" # apt's own user writes here
cd "$dir"
apt-get -q -o APT::Sandbox::User=root download rsyslog=8.2302.0-1+deb12u2 libestr0=0.1.11-1 libfastjson4=1.2304.0-1 >apt.log 2>&1 ||
	{ cat apt.log; exit 1; }
for package in ./*.deb; do dpkg-deb -x "$package" root; done
libraries=$(dirname "$(find "$PWD/root" -name 'libfastjson.so.4' | head -n 1)")
modules=$(dirname "$(find "$PWD/root" -name imuxsock.so | head -n 1)")

cat >rsyslog.conf <<CONF
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="$dir/default.sock")
input(type="imuxsock" Socket="$dir/chain.sock" useSpecialParser="off" parseHostname="on")
template(name="seen" type="string" string="version %protocol-version%, program \"%app-name%\", msgid \"%msgid%\"\n")
action(type="omfile" file="$dir/seen" template="seen")
CONF
LD_LIBRARY_PATH=$libraries RSYSLOG_MODDIR=$modules root/usr/sbin/rsyslogd -n -f rsyslog.conf -i "$dir/pid" >daemon.log 2>&1 &
daemon=$!

send() { # SOCKET: what rsyslog makes of the message
	for _ in $(seq 100); do
		if [ -S "$1" ]; then break; fi
		sleep 0.1
	done
	: >seen
	logger --rfc5424=notime --socket "$1" --socket-errors=on --tag audit --msgid approved '{"event":"approved"}'
	for _ in $(seq 100); do
		if [ -s seen ]; then break; fi
		sleep 0.1
	done
	cat seen
}
default=$(send "$dir/default.sock")
chain=$(send "$dir/chain.sock")
LD_LIBRARY_PATH=$libraries root/usr/sbin/rsyslogd -v | sed -n 1p
logger --version
echo "default:               $default"
echo "useSpecialParser=off:  $chain"
if [ "$default" != 'version 0, program "1", msgid "-"' ] || [ "$chain" != 'version 1, program "audit", msgid "approved"' ]; then
	echo "CHANGED"
	exit 1
fi
