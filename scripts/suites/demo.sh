#!/usr/bin/env bash
# The demonstration itself: it proves what it shows, so it is a test.
. "$(dirname "$0")/common.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
check "make demo" "$repo/scripts/demo.sh"
end_suite
