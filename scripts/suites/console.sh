#!/usr/bin/env bash
# The console in a browser: signing in by an external OpenID Connect provider, approving a device,
# issuing and revoking a key, watching a mount's lag; accessibility, a phone's width, no scripts.
# With SCREENSHOTS=FOLDER it also writes the pictures of docs/console.md.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    require_packages chromium=chromium chromedriver=chromium-driver npm=npm curl=curl
    require_npm_tools
    start_embedded
    local port console secret
    port=$(free_port)
    console=http://127.0.0.1:$port
    secret=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
    start_issuer "$console" "$secret"
    start_orchestrator "$port" "$secret"
    local bootstrap
    bootstrap=$("$artifactsd" orchestrator bootstrap --database "sqlite://$work/orchestrator.db")
    (
        umask 077
        cat >"$work/lab.json" <<JSON
{"console": "$console", "issuer": "$issuer", "bootstrap": "$bootstrap", "artifacts": "$artifacts", "axe": "$npm_tools/node_modules/axe-core/axe.min.js"}
JSON
    )
    export RESULT
    # The browsers' own folders go with the suite's.
    mkdir "$work/browsers"
    if ! HOME=$work/browsers TMPDIR=$work/browsers python3 "$repo/scripts/suites/console.py" "$work/lab.json" >&2; then
        failures=$((failures + 1))
        tail -n 20 "$work/orchestrator.log" >&2
    fi
    [ -z "${SCREENSHOTS:-}" ] || shrink_pictures
    end_suite
}

# Few colours are enough for pages; a picture takes a third of its room.
shrink_pictures() {
    require_packages pngquant=pngquant
    pngquant --force --ext .png --strip 64 "$SCREENSHOTS"/console-*.png
}

# What exists as npm packages only; versions and hashes are in package-lock.json.
require_npm_tools() {
    node -e 'process.exit(parseInt(process.versions.node, 10) >= 20 ? 0 : 1)' ||
        die "node $(node --version) is too old for oidc-provider" "install Node 20 or newer"
    npm_tools=$ARTIFACTS_TOOLS/oidc-provider
    local source=$repo/scripts/suites/oidc-provider
    if ! cmp -s "$source/package-lock.json" "$npm_tools/installed.json"; then
        say "installing oidc-provider and axe-core with npm into $npm_tools"
        mkdir -p "$npm_tools"
        cp "$source/package.json" "$source/package-lock.json" "$npm_tools/"
        (cd "$npm_tools" && npm ci --ignore-scripts --no-audit --no-fund >&2)
        cp "$source/package-lock.json" "$npm_tools/installed.json"
    fi
    # Modules are found from where the program lies.
    cp "$source/server.js" "$npm_tools/"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_issuer CONSOLE SECRET: sets issuer.
start_issuer() {
    CLIENT_SECRET=$2 REDIRECT_URI=$1/console/sign-in/callback READY_FILE=$work/issuer.json \
        node "$npm_tools/server.js" >"$work/issuer.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/issuer.json" $! "$work/issuer.log"
    issuer=$(json "$work/issuer.json" endpoint)
}

# start_orchestrator PORT SECRET
start_orchestrator() {
    cat >"$work/orchestrator.toml" <<TOML
[[issuers]]
url = "$issuer"
name = "Example accounts"
client_id = "artifacts-console"
client_secret_env = "CONSOLE_CLIENT_SECRET"
TOML
    CONSOLE_CLIENT_SECRET=$2 ARTIFACTS_PROVIDER_ACCESS_KEY_ID=$access_key \
        ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY=$secret_key ARTIFACTS_PROVIDER_ENDPOINT=$endpoint \
        "$artifactsd" orchestrator --listen "127.0.0.1:$1" --provider embedded \
        --database "sqlite://$work/orchestrator.db" --config "$work/orchestrator.toml" \
        --ready-file "$work/orchestrator.json" >"$work/orchestrator.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/orchestrator.json" $! "$work/orchestrator.log"
}

main
