#!/usr/bin/env bash
# Every command that README.md and docs/ show in a ```console block, run as shown.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    start_embedded
    use_rclone
    require_contract_tools
    start_chain
    local document
    for document in README.md docs/*.md; do
        [ -f "$document" ] || continue
        if ! grep -q '^```console' "$document"; then continue; fi
        check "commands of $document" run_document "$document"
    done
    end_suite
}

# A document's blocks run in one shell, in order, in an empty folder and with an empty home. The
# placeholders that readers replace are set here; a line that begins with "$ " is a command, "> " goes
# on with it, everything else is what it prints. A word after "console" names another machine, with a home
# of its own.
run_document() {
    here=$work/docs-${1//\//-}
    local bucket
    bucket=docs-$(basename "$1" .md | tr 'A-Z_' 'a-z-')
    mkdir -p "$here/home"
    cd "$here"
    rclone mkdir "store:$bucket"
    awk '/^```console/ { on = 1; print "machine " ($2 ? $2 : "home"); next }
        /^```/ { on = 0 } on && /^[$>] / { print substr($0, 3) }' \
        "$repo/$1" >commands
    [ -s commands ]
    # Whose currency the wallets of docs/registry.md have.
    (umask 077 && chain_key 0 >owner.key && chain_key 1 >operator.key)
    # Commands that install, build or measure have targets and tests of their own.
    grep -vE '^(make|git clone|cd artifacts$)' commands >run || true
    free_ports run
    sed -i -e "s#https://s3\.example\.com#$endpoint#g" -e "s#my-bucket#$bucket#g" \
        -e "s#YOUR_ACCESS_KEY_ID#$access_key#g" -e "s#YOUR_SECRET_ACCESS_KEY#$secret_key#g" \
        -e "s#https://rpc\.example\.com --chain-id 8453#$chain --chain-id $(json "$work/anvil.json" chain_id)#g" \
        run
    cat - run >program <<'END'
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
machine() {
    export HOME=$here/$1 XDG_CONFIG_HOME=$here/$1/.config XDG_CACHE_HOME=$here/$1/.cache
    export XDG_STATE_HOME=$here/$1/.local/state XDG_DATA_HOME=$here/$1/.local/share
    mkdir -p "$HOME"
}
END
    trap 'mountpoint -q "$here/home/work" && fusermount3 -u -z "$here/home/work"' EXIT
    here=$here bash -euo pipefail program </dev/null
}

# A port that a page names may be taken here: each becomes a free one.
free_ports() {
    python3 - "$1" <<'END'
import re, socket, sys
text = open(sys.argv[1]).read()
held = {port: socket.create_server(("127.0.0.1", 0)) for port in set(re.findall(r"127\.0\.0\.1:([1-9]\d+)", text))}
free = lambda named: f"127.0.0.1:{held[named[1]].getsockname()[1]}"
open(sys.argv[1], "w").write(re.sub(r"127\.0\.0\.1:([1-9]\d+)", free, text))
END
}

main
