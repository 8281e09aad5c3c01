#!/usr/bin/env bash
# The vault's bucket and role as `artifactsd dev` makes them, looked at from outside with tokens of the
# real broker: they keep actors apart, and a broad grant that is planted beside is found and named.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    require_tools
    start_vault
    use_keys
    mkdir -p "$XDG_CONFIG_HOME/artifacts"
    install -m 600 "$work/dev/vault/client.toml" "$XDG_CONFIG_HOME/artifacts/config.toml"
    "$artifacts" --format json vault login --bootstrap <"$work/dev/vault/bootstrap-token" >"$work/login.json"
    "$artifacts" registry key show | "$artifactsd" registry pin --data "$work/dev/vault/registry" \
        --operator "$(json "$work/login.json" operator)" --key -
    # The broker gives identities to devices that the registry knows.
    "$artifacts" device register >&2
    export RESULT
    if ! "$ARTIFACTS_TOOLS/venv/bin/python3" "$repo/scripts/suites/vault_isolation.py" "$work/dev.json" "$artifacts" >&2; then
        failures=$((failures + 1))
        tail -n 20 "$work/dev.log" >&2
    fi
    end_suite
}

main
