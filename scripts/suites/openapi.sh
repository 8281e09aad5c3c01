#!/usr/bin/env bash
# The orchestrator's interface: schemathesis makes requests from docs/reference/openapi.json, good
# ones and bad ones, and holds the answers against it. It asks a real server as an operator who owns
# a tenant, as the holder of a service token, and as nobody. `openapi.sh short|long`;
# OPENAPI_EXAMPLES says how many requests of each kind it makes up, OPENAPI_SEED which.
. "$(dirname "$0")/common.sh"

examples=8 patience=120
[ "$length" = short ] || examples=300 patience=3600
examples=${OPENAPI_EXAMPLES:-$examples}
seed=${OPENAPI_SEED:-1}

# A stream does not end by itself, and a session that is logged out asks for nothing more. What takes
# away what others are asked about, the tenant that is asked for included, comes last.
left_out=(--exclude-operation-id follow_events --exclude-operation-id logout)
last=(delete_tenant remove_member delete_workspace)

# Each of these holds for every answer. The document says what may come of any request, so nothing
# is asked of good ones but that: a number that nobody has is good and not found.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
checks=$checks,response_headers_conformance,negative_data_rejection
checks=$checks,unsupported_method,allow_header_conformance,ignored_auth

main() {
    begin_suite
    require_tools
    start_embedded
    start_orchestrator
    log_in
    check "openapi: the document that is served is the one in docs/reference" same_document
    ask_as nobody ''
    ask_as program "$program" "${left_out[@]}"
    ask_as operator "$operator" "${left_out[@]}" "${last[@]/#/--exclude-operation-id=}"
    ask_as operator-at-last "$operator" "${last[@]/#/--include-operation-id=}"
    check "openapi: Prometheus's own reader reads the metrics" metrics_are_read
    check "openapi: the server still answers and nothing in it panicked" still_well
    end_suite
}

# The embedded store makes buckets and keys. Limits would answer most of what is asked.
start_orchestrator() {
    cat >"$work/orchestrator.toml" <<TOML
keys_per_minute = 1000000
announcements_per_minute = 1000000
mount_reports_per_minute = 1000000
logins_per_minute = 1000000
TOML
    watcher=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')-who-watches
    ARTIFACTS_ORCHESTRATOR_METRICS_TOKEN=$watcher \
        ARTIFACTS_PROVIDER=embedded ARTIFACTS_PROVIDER_ENDPOINT=$endpoint \
        ARTIFACTS_PROVIDER_ACCESS_KEY_ID=$access_key ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY=$secret_key \
        "$artifactsd" orchestrator --database "sqlite://$work/orchestrator.db" \
        --config "$work/orchestrator.toml" --listen 127.0.0.1:0 \
        --ready-file "$work/orchestrator.json" >"$work/orchestrator.log" 2>&1 &
    started+=($!)
    wait_for_file "$work/orchestrator.json" $! "$work/orchestrator.log"
    url=$(json "$work/orchestrator.json" endpoint)
}

# The first operator, and a session of theirs that stands in a tenant and may do what operators may
# (by device authorization); a service token; and a workspace to be asked about.
log_in() {
    local token me tenant device grant=urn:ietf:params:oauth:grant-type:device_code
    token=$("$artifactsd" orchestrator bootstrap --database "sqlite://$work/orchestrator.db")
    operator=$(post '' bootstrap "{\"token\":\"$token\"}" | field access_token)
    me=$(curl -sSf -H "Authorization: Bearer $operator" "$url/whoami" | field identity actor)
    tenant=$(post "$operator" tenants "{\"handle\":\"ada\",\"owner\":{\"actor\":\"$me\"}}" | field tenant_id)
    curl -sSf "$url/oauth/device_authorization" -d client_id=suite -d machine=suite -d scope=operator >"$work/device.json"
    post "$operator" device/approve \
        "{\"user_code\":\"$(json "$work/device.json" user_code)\",\"tenant_id\":\"$tenant\"}"
    device=$(json "$work/device.json" device_code)
    operator=$(curl -sSf "$url/oauth/token" -d client_id=suite -d "device_code=$device" -d "grant_type=$grant" |
        field access_token)
    post "$operator" workspaces '{"name":"cases"}' >/dev/null
    program=$(post "$operator" tokens '{"description":"suite","mode":"rw"}' | field token)
}

# post TOKEN PATH BODY
post() {
    curl -sSf -H "Authorization: Bearer $1" -H 'Content-Type: application/json' "$url/$2" -d "$3"
}

field() {
    python3 -c '
import json, sys
found = json.load(sys.stdin)
for name in sys.argv[1:]:
    found = found[name]
print(found)' "$@"
}

same_document() { curl -sSf "$url/openapi.json" | cmp - "$repo/docs/reference/openapi.json"; }

# ask_as WHO TOKEN OPTION…: one case for each operation.
ask_as() {
    local who=$1
    # Its settings, where the token comes from the environment and is seen in no list of processes.
    mkdir "$work/$who"
    [ -z "$2" ] || echo 'headers = { Authorization = "Bearer ${TOKEN}" }' >"$work/$who/schemathesis.toml"
    say "asking as $who"
    (
        cd "$work/$who"
        export TOKEN=$2
        shift 2
        timeout "$patience" schemathesis run "$repo/docs/reference/openapi.json" --url "$url" \
            --checks "$checks" --mode all --phases examples,coverage,fuzzing --max-examples "$examples" \
            --seed "$seed" --no-shrink --continue-on-failure --request-timeout 20 --warnings off --no-color \
            --generation-database none --report junit,har --report-junit-path "$work/$who.xml" --report-har-path "$work/$who.har" "$@"
    ) >"$work/$who.log" 2>&1 || true
    if [ ! -s "$work/$who.xml" ]; then
        fail "openapi: as $who: ended early: $(tail -n 5 "$work/$who.log" | tr '\n' '|')"
        return
    fi
    verdicts "$work/$who.xml" >"$work/verdicts"
    report "$who" <"$work/verdicts"
}

# One line per operation: `passed|failed|skipped METHOD PATH: why`.
verdicts() {
    python3 - "$1" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

for case in tree.parse(sys.argv[1]).iter("testcase"):
    found = {kind: case.find(kind) for kind in ("failure", "error", "skipped")}
    kind = next((kind for kind, element in found.items() if element is not None), None)
    why = "" if kind is None else " ".join((found[kind].get("message") or found[kind].text or "").split())
    how = {None: "passed", "skipped": "skipped"}.get(kind, "failed")
    print(how, case.get("name") + ":", why[:2000])
PYTHON
}

report() {
    local how line seen=0
    while read -r how line; do
        seen=$((seen + 1))
        case $how in
        passed) pass "openapi: as $1: ${line%: }" 2>/dev/null ;;
        skipped) skip "openapi: as $1: $line" ;;
        *) fail "openapi: as $1: $line" ;;
        esac
    done
    if [ "$seen" = 0 ]; then fail "openapi: as $1: asked for nothing"; fi
}

# By the token that is for nothing else; what was asked above is in it.
metrics_are_read() {
    curl -sSf -H "Authorization: Bearer $watcher" "$url/metrics" >"$work/metrics"
    "$ARTIFACTS_TOOLS/venv/bin/python3" - "$work/metrics" <<'PYTHON'
import sys
from prometheus_client.parser import text_string_to_metric_families

families = {family.name: family for family in text_string_to_metric_families(open(sys.argv[1]).read())}
requests = families["artifacts_http_request_duration_seconds"]
counted = sum(sample.value for sample in requests.samples if sample.name.endswith("_count"))
assert len(families) > 10 and counted > 500, (sorted(families), counted)
assert families["artifacts_database_up"].samples[0].value == 1
# A path is the router's: however much was asked, there are few.
paths = {sample.labels["path"] for sample in requests.samples}
assert len(paths) < 60, paths
PYTHON
}

still_well() {
    [ "$(curl -sSf "$url/readyz")" = ok ]
    if grep -E 'panicked| ERROR ' "$work/orchestrator.log"; then return 1; fi
}

main
