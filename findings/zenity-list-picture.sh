#!/usr/bin/env bash
# zenity 4.1.90 (Debian 13) draws each picture of --list --imagelist with 16 pixels, whatever its size and that of the
# window; it has no option for the size. zenity 3.44.0 (Debian 12) draws the same picture with all its pixels. The
# manual says of --imagelist "Use an image for the first column", and nothing of a size. So a QR code in such a list can
# be scanned with zenity 3, and is a grey spot with zenity 4.
#
# Seen on Debian 12 under Xvfb, a picture of 200 by 200 pixels in a window of 500 by 400:
#   zenity 3.44.0:  200x200
#   zenity 4.1.90:  16x16
#
# It unpacks zenity of Debian 13 and all that this needs in a temporary folder (160 packages, 50 MB), and that of
# Debian 12, whose libraries must be installed (apt-get install zenity). It needs apt-get, dpkg-deb, debian-archive-keyring,
# Xvfb, xdotool and ImageMagick.
set -euo pipefail
dir=$(mktemp -d)
# shellcheck disable=SC2317
cleanup() {
	for process in ${program:-} ${server:-}; do kill "$process" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"

# In lists of its own, where nothing is installed: apt finds all packages that zenity of Debian 13 needs.
mkdir -p state lists/partial cache/archives/partial new old home
chmod 700 home
: >state/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >sources.list
trixie() {
	apt-get -q -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3 \
		-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State=$dir/state" \
		-o "Dir::State::status=$dir/state/status" -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" "$@" >apt.log 2>&1 ||
		{ cat apt.log; exit 1; }
}
trixie update
trixie -y --download-only install zenity=4.1.90-1 fonts-dejavu-core
for package in cache/archives/*.deb; do dpkg-deb -x "$package" new; done
apt-get -q -o APT::Sandbox::User=root download zenity=3.44.0-1 >apt.log 2>&1 || { cat apt.log; exit 1; }
dpkg-deb -x ./zenity_3*.deb old

libraries=$dir/new/usr/lib/x86_64-linux-gnu
loader=(new/usr/lib64/ld-linux-x86-64.so.2 --library-path "$libraries")
"${loader[@]}" "$libraries/glib-2.0/glib-compile-schemas" new/usr/share/glib-2.0/schemas
cat >fonts.conf <<CONF
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>$dir/new/usr/share/fonts</dir><cachedir>$dir/home/fonts</cachedir></fontconfig>
CONF
export HOME=$dir/home XDG_RUNTIME_DIR=$dir/home GDK_BACKEND=x11 LC_ALL=C.UTF-8 DBUS_SESSION_BUS_ADDRESS=disabled:
export GSETTINGS_BACKEND=memory NO_AT_BRIDGE=1 GTK_A11Y=none GSK_RENDERER=cairo
unset WAYLAND_DISPLAY XDG_CURRENT_DESKTOP XDG_DATA_DIRS GTK_THEME GDK_SCALE
zenity4=(env "XDG_DATA_DIRS=$dir/new/usr/share" "XKB_CONFIG_ROOT=$dir/new/usr/share/X11/xkb" "FONTCONFIG_FILE=$dir/fonts.conf"
	"${loader[@]}" new/usr/bin/zenity)
zenity3=(old/usr/bin/zenity)

Xvfb -displayfd 3 -screen 0 800x600x24 -nolisten tcp 3>display 2>server.log &
server=$!
for _ in $(seq 100); do
	if [ -s display ]; then break; fi
	sleep 0.1
done
DISPLAY=:$(cat display)
export DISPLAY
convert -size 200x200 'xc:#ff00ff' picture.png

# draw TITLE PROGRAM...: sets size to width and height of what a window of the program has in the picture's colour.
draw() {
	local title=$1 last
	shift
	"$@" --list --imagelist --title="$title" --width=500 --height=400 --column=picture --column=name "$dir/picture.png" name >/dev/null 2>zenity.log &
	program=$!
	timeout 60 xdotool search --sync --onlyvisible --name "$title" >/dev/null
	size=0x0
	for _ in $(seq 30); do # until it is drawn to the end
		last=$size
		sleep 1
		import -silent -window root screen.png
		size=$(convert screen.png -fill black +opaque '#ff00ff' -fill white -opaque '#ff00ff' -format '%@' info: 2>/dev/null) || true
		size=${size%%+*}
		if [ "$size" = "$last" ] && [ "$size" != 0x0 ]; then break; fi
	done
	kill "$program"
	wait "$program" 2>/dev/null || true
	program=
}
draw "finding 3" "${zenity3[@]}"
size3=$size
draw "finding 4" "${zenity4[@]}"
size4=$size

version3=$("${zenity3[@]}" --version) version4=$("${zenity4[@]}" --version)
echo "zenity $version3:  $size3"
echo "zenity $version4:  $size4"
if [ "$version3 $size3 $version4 $size4" != "3.44.0 200x200 4.1.90 16x16" ]; then
	echo "CHANGED"
	exit 1
fi
