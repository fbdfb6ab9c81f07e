#!/usr/bin/env bash
# kdialog 22.12.3 (Debian 12) takes --ok-label and --cancel-label with every kind of window, without an error.
# A window with a field (--inputbox, --password) shows OK and Cancel all the same; only windows with a
# question take other labels (--yes-label, --no-label). So whoever asks for a secret cannot say on the button
# what a press of it does.
#
# Seen on Debian 12: the picture of --inputbox is the same with and without --ok-label, that of --yesno is another
# one with --yes-label.
#
# It unpacks Debian's package in a temporary folder, whose libraries must be installed (apt-get install kdialog),
# and needs apt-get, dpkg-deb, Xvfb, xdotool and ImageMagick.
set -euo pipefail
dir=$(mktemp -d)
# shellcheck disable=SC2317
cleanup() {
	if [ -n "${server:-}" ]; then kill "$server" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"
apt-get -q -o APT::Sandbox::User=root download kdialog=4:22.12.3-1 >apt.log 2>&1 || { cat apt.log; exit 1; }
dpkg-deb -x ./*.deb root
mkdir -m 700 home
export HOME=$dir/home XDG_RUNTIME_DIR=$dir/home QT_QPA_PLATFORM=xcb DBUS_SESSION_BUS_ADDRESS=disabled:
unset WAYLAND_DISPLAY XDG_CURRENT_DESKTOP
Xvfb -displayfd 3 -screen 0 800x600x24 -nolisten tcp 3>display 2>server.log &
server=$!
for _ in $(seq 100); do
	if [ -s display ]; then break; fi
	sleep 0.1
done
DISPLAY=:$(cat display)
export DISPLAY

# picture NAME ARGUMENT...: the window of these arguments, without the cursor that blinks in its field.
picture() {
	local name=$1 program window
	shift
	root/usr/bin/kdialog --title "finding $name" "$@" >/dev/null 2>kdialog.log &
	program=$!
	window=$(timeout 30 xdotool search --sync --onlyvisible --name "finding $name" | tail -n 1)
	sleep 1
	# Only the row of buttons, which is at the bottom.
	import -silent -window "$window" png:- | convert - -gravity south -crop 100%x40+0+0 +repage "$name.ppm"
	kill "$program"
	wait "$program" 2>/dev/null || true
}
same() {
	if cmp -s "$1.ppm" "$2.ppm"; then echo same; else echo different; fi
}
picture field --inputbox "Code"
picture field-labels --ok-label Send --cancel-label Later --inputbox "Code"
picture question --yesno "Allow it?"
picture question-labels --yes-label Allow --no-label Deny --yesno "Allow it?"
field=$(same field field-labels) question=$(same question question-labels)
root/usr/bin/kdialog --version
echo "buttons of --inputbox with other labels: $field"
echo "buttons of --yesno with other labels:    $question"
if [ "$field" != same ] || [ "$question" != different ]; then
	echo "CHANGED"
	exit 1
fi
