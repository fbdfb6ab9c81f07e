#!/bin/sh
# A prompt command for stepup that needs nothing but sh, sed and systemd.
#
# stepup writes one JSON object to standard input. The question goes to whatever
# agent of systemd-ask-password answers for this user (a terminal, or a desktop
# that has one). The answer goes to standard output.
#
# Exit codes: 0 answered, 1 denied, 2 cannot ask now (stepup tries another way).
set -u

# Since systemd 257 a user has agents of their own; before, only root could ask.
systemd-ask-password --help 2>/dev/null | grep -q -e --user || exit 2
[ -n "${XDG_RUNTIME_DIR:-}" ] || exit 2

request=$(cat)

# One field that is text. stepup has no control characters in what it sends, and
# escapes in a text (\" and the like) are shown as they are.
text() {
	printf '%s' "$request" | sed -n 's/.*"'"$1"'":"\(\([^"\\]\|\\.\)*\)".*/\1/p'
}

kind=$(text kind)
what="$(text operation) $(text path)"
method=$(text method)
message=$(text message)
[ -n "$message" ] && message="$message. "

ask() {
	# --no-tty: the terminal that the agent was started from may be anybody's.
	# No timeout: stepup ends this program at the deadline, which is no denial.
	systemd-ask-password --user --no-tty --timeout=0 --icon=dialog-password -- "$1" || exit 1
}

case $kind in
passcode) ask "${message}Code of $method for Vault ($what):" ;;
password) ask "${message}Password for Vault ($what):" ;;
confirm)
	answer=$(ask "${message}Allow $what? Type yes:") || exit 1
	[ "$answer" = yes ] || exit 1
	echo yes
	;;
push)
	# Only told: stepup ends this program when the phone has decided.
	exec sleep 300
	;;
*) exit 2 ;;
esac
