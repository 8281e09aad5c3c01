#!/usr/bin/env bash
# What is in deploy/ is what its readers need. Short: units, compose file and balancer are read by
# the programs that they are for. Long: the container files are carried out and their images run.
# No registry of images is asked: the base is made of Debian's packages, and in place of the stage
# that compiles stand the programs that are built already.
. "$(dirname "$0")/common.sh"

main() {
    begin_suite
    units
    compose
    balancer
    if [ "$length" = long ]; then images; fi
    end_suite
}

# The programs are where they were built, which is all that the copies differ in.
units() {
    if ! have systemd-analyze; then
        skip "deploy units: systemd-analyze is not here"
        return
    fi
    mkdir "$work/units"
    local unit
    for unit in deploy/systemd/*.service; do
        sed "s#/usr/local/bin/#$(dirname "$artifactsd")/#" "$unit" >"$work/units/$(basename "$unit")"
    done
    local role
    for role in orchestrator worker; do
        check "deploy artifactsd-$role.service is a unit" \
            silent systemd-analyze verify "$work/units/artifactsd-$role.service"
        # From 0 to 100: a unit that says nothing is at 96.
        check "deploy artifactsd-$role.service lets little be done" \
            systemd-analyze security --offline=true --threshold=20 "$work/units/artifactsd-$role.service"
    done
    check "deploy artifacts-mount@.service is a unit" \
        silent env XDG_RUNTIME_DIR="$work" systemd-analyze verify --user "$work/units/artifacts-mount@.service"
}

# Warnings do not make systemd-analyze fail.
silent() {
    local said
    said=$("$@" 2>&1) || { echo "$said"; return 1; }
    [ -z "$said" ] || { echo "$said"; return 1; }
}

compose() { check "deploy compose.yaml is whole" read_compose; }

read_compose() {
    python3 - <<'PYTHON'
import pathlib, re, yaml

text = pathlib.Path("deploy/compose.yaml").read_text()
file = yaml.safe_load(text)
services = file["services"]
assert set(services) == {"one", "two", "balancer", "database", "store"}, services
for name, service in services.items():
    build = service.get("build")
    if build:
        assert pathlib.Path("deploy", build["context"], build["dockerfile"]).is_file(), build
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        known = (pathlib.Path("deploy") / source).exists() if source.startswith(".") else source in file["volumes"]
        assert known, (name, volume)
    for other in service.get("depends_on", {}):
        assert other in services, (name, other)
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), (name, port)
# What must be set is what docs/deploy.md says.
needed = set(re.findall(r"\$\{(\w+)[:}]", text))
said = set(re.findall(r"^([A-Z_]+)=", pathlib.Path("docs/deploy.md").read_text(), re.M))
assert needed <= said, needed - said
# The servers of haproxy.cfg are services of the file.
servers = re.findall(r"^ +server \S+ (\w+):8100", pathlib.Path("deploy/haproxy.cfg").read_text(), re.M)
assert servers == ["one", "two"], servers
PYTHON
}

# haproxy itself in front of a real server, and of one that is not there.
balancer() {
    if ! have haproxy && [ "$length" = short ]; then
        skip "deploy haproxy.cfg: haproxy is not here; the long form installs it"
        return
    fi
    require_packages haproxy=haproxy
    check "deploy haproxy.cfg passes requests on to the server that lives" behind_haproxy
}

behind_haproxy() {
    local port url token
    port=$(free_port)
    ARTIFACTS_ORCHESTRATOR_DATABASE=sqlite://$work/balanced.db \
        "$artifactsd" orchestrator --listen 127.0.0.1:0 --public-url "http://127.0.0.1:$port" \
        --ready-file "$work/balanced.json" >"$work/balanced.log" 2>&1 &
    one=$!
    wait_for_file "$work/balanced.json" "$one" "$work/balanced.log"
    url=$(json "$work/balanced.json" endpoint)
    sed -e "s#bind :8100#bind 127.0.0.1:$port#" -e "s#one:8100#${url#http://}#" \
        -e "s#two:8100#127.0.0.1:1#" deploy/haproxy.cfg >"$work/haproxy.cfg"
    haproxy -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
    trap 'kill $one $!' EXIT
    wait_for_url "http://127.0.0.1:$port/readyz"
    token=$(ARTIFACTS_ORCHESTRATOR_DATABASE=sqlite://$work/balanced.db "$artifactsd" orchestrator bootstrap)
    curl -sSf "http://127.0.0.1:$port/bootstrap" -H 'Content-Type: application/json' \
        -d "{\"token\":\"$token\"}" | grep -q access_token
    # Whatever server a request is sent to first, the living one answers.
    for _ in 1 2 3 4 5 6; do curl -sSf "http://127.0.0.1:$port/readyz" >/dev/null; done
}

images() {
    if [ "$(id -u)" != 0 ]; then
        skip "deploy images: only root can make the base of them"
        return
    fi
    require_packages buildah=buildah mmdebstrap=mmdebstrap
    export BUILDAH_ISOLATION=chroot
    start_embedded
    stores=(--root "$work/images" --runroot "$work/images-run")
    check "deploy a base is made of Debian's packages" make_bases
    check "deploy Containerfile is carried out" build_image Containerfile artifactsd
    check "deploy artifactsd runs in its image, as its user, and is healthy" run_the_server
    check "deploy app.Containerfile is carried out" build_image app.Containerfile artifacts-app
    check "deploy an application works in its workspace, in its image, as its user" run_an_application
    # What is mounted in the working folder could not be removed with it.
    buildah "${stores[@]}" rm --all >/dev/null
    ! mountpoint -q "$work/images/overlay" || umount "$work/images/overlay"
}

# The names that the container files begin with: Debian without more, and the same with a `cargo`
# that has compiled already.
make_bases() {
    local base program
    mmdebstrap --quiet --variant=minbase bookworm "$work/base.tar"
    base=$(buildah "${stores[@]}" from scratch)
    buildah "${stores[@]}" add --quiet "$base" "$work/base.tar" /
    buildah "${stores[@]}" commit --quiet "$base" debian:bookworm-slim
    mkdir "$work/built"
    for program in "$artifacts" "$artifactsd"; do
        strip -o "$work/built/$(basename "$program")" "$program"
    done
    printf '#!/bin/sh\nmkdir -p target/release && cp /built/* target/release/\n' >"$work/cargo"
    chmod 755 "$work/cargo"
    buildah "${stores[@]}" copy --quiet "$base" "$work/built" /built
    buildah "${stores[@]}" copy --quiet "$base" "$work/cargo" /usr/local/bin/cargo
    buildah "${stores[@]}" commit --quiet --rm "$base" rust:1.95-bookworm
    rm "$work/base.tar"
}

# build_image FILE NAME
build_image() {
    buildah "${stores[@]}" build --pull-never --format docker --file "deploy/$1" --tag "$2" .
}

# in_image NAME OPTIONS -- COMMAND…: as the image's user, on the machine's own loopback.
in_image() {
    local container
    container=$(buildah "${stores[@]}" from --pull-never "$1")
    buildah "${stores[@]}" run "${@:2}" "$container" -- "${command[@]}"
}

# With the image's own command but for where it listens: tests stay on loopback.
run_the_server() {
    local port
    port=$(free_port)
    grep -q '^ENTRYPOINT \["artifactsd"\]' deploy/Containerfile
    command=(env ARTIFACTS_ORCHESTRATOR_DATABASE=sqlite:///var/lib/artifacts/orchestrator.db
        ARTIFACTS_ORCHESTRATOR_LISTEN="127.0.0.1:$port" artifactsd orchestrator --allow-remote)
    in_image artifactsd >"$work/server-image.log" 2>&1 &
    server=$!
    trap 'kill_family $server' EXIT
    wait_for_url "http://127.0.0.1:$port/readyz"
    command=(artifactsd orchestrator health --url "http://127.0.0.1:$port")
    in_image artifactsd
    command=(sh -c 'test "$(id -u)" = 10001 && touch /var/lib/artifacts/x && ! touch /usr/local/bin/x 2>/dev/null')
    in_image artifactsd
}

run_an_application() {
    local options
    use_keys
    use_rclone
    rclone mkdir store:application
    "$artifacts" workspace create work --bucket application --endpoint "$endpoint"
    mkdir -p "$work/app/workspaces"
    cp "$XDG_CONFIG_HOME/artifacts/workspaces/work.toml" "$work/app/workspaces/"
    printf 'export ARTIFACTS_S3_ACCESS_KEY_ID=%s ARTIFACTS_S3_SECRET_ACCESS_KEY=%s\n' \
        "$access_key" "$secret_key" >"$work/keys"
    chown -R 10001:10001 "$work/app" "$work/keys"
    # Where udev runs everybody may open the device; a bare machine's is root's.
    mode=$(stat -c %a /dev/fuse)
    trap 'chmod "$mode" /dev/fuse' EXIT
    chmod 666 /dev/fuse
    options=(--cap-add CAP_SYS_ADMIN --volume "$work/app:/etc/artifacts:ro" --volume "$work/keys:/run/keys:ro")
    grep -q '^ENTRYPOINT \["artifacts", "exec", "work", "/work", "--"\]' deploy/app.Containerfile

    # The command's own exit code, and its file in the bucket.
    application 7 'test "$(id -u)" = 10001 && echo hello >/work/a.txt && exit 7'
    [ "$(rclone cat store:application/a.txt)" = hello ]
    # It finds what is there, and none of the keys.
    application 0 'grep -q hello /work/a.txt && ! env | grep -q ARTIFACTS_S3'
    # Without keys the command never runs.
    mv "$work/keys" "$work/no-keys"
    echo : >"$work/keys"
    application 3 'exit 0' >"$work/without-keys.log" 2>&1
    grep -q '^hint: ' "$work/without-keys.log"
}

# application CODE SCRIPT
application() {
    local code=0
    command=(sh -c '. /run/keys; exec artifacts exec work /work -- sh -c "$1"' sh "$2")
    in_image artifacts-app "${options[@]}" || code=$?
    [ "$code" = "$1" ] || { echo "exit code $code in place of $1"; return 1; }
}

# Containers of buildah have no name to be ended by: the process and all that it started.
kill_family() {
    local child
    for child in $(pgrep -P "$1"); do kill_family "$child"; done
    kill "$1" 2>/dev/null || true
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

wait_for_url() {
    local deadline=$((SECONDS + 30))
    until curl -sf "$1" >/dev/null; do
        [ $SECONDS -lt $deadline ] || die "no answer: $1"
        sleep 0.1
    done
}

main
