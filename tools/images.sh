#!/usr/bin/env bash
# Builds the images of the services, with buildah, docker or podman, whichever works here.
#   tools/images.sh [build] [IMAGE ...]     all, or engagement-api replicator verifier controller replicator-lambda
#   tools/images.sh base                    a base image from Debian's packages, where no image registry is at hand
#   tools/images.sh engine                  print what builds here, or what is missing
#   tools/images.sh run IMAGE [ARG ...]     run a command of an image, ENTRYPOINT="python -m x" for another one
#   tools/images.sh sizes                   size of each image, in MB
# BASE=…        base image of both stages, by digest best; "debian" makes one; unset: the Dockerfiles' own
# TAG=…         default: the version of the code
# REGISTRY=…    put before the names, for pushing
# ENGINE=…      buildah, docker or podman
# What pip is told on this machine (index, proxy's certificate) reaches the build as a secret, and no layer.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
CACHE=$PWD/build/images
LOCAL_BASE=localhost/crossfade-base:bookworm
IMAGES=(engagement-api replicator verifier controller replicator-lambda)
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} # work inside containers, too

say() { echo "images.sh: $*" >&2; }

engine() {
    local found
    for found in ${ENGINE:-buildah docker podman}; do
        command -v "$found" > /dev/null || continue
        case "$found" in
        buildah) buildah --version > /dev/null 2>&1 && { echo buildah; return; } ;;
        *) "$found" info > /dev/null 2>&1 && { echo "$found"; return; } ;;
        esac
    done
    say "nothing here builds images: install buildah (Debian: apt-get install buildah), or start docker or podman"
    return 3
}

bud() { buildah --root "$CACHE/storage" --runroot "$CACHE/run" "$@"; }

dockerfile() {
    case "$1" in
    replicator-lambda) echo services/replicator/Dockerfile.lambda ;;
    *) echo "services/$1/Dockerfile" ;;
    esac
}

name() { echo "${REGISTRY:+$REGISTRY/}crossfade/$1:$(tag)"; }

tag() { echo "${TAG:-$(sed -n 's/^version = "\(.*\)"/\1/p' libs/common/pyproject.toml | head -1)}"; }

# pip's configuration as one file, whatever it came from; its certificate file beside it.
secrets() {
    mkdir -p "$CACHE"
    rm -rf "$CACHE/secrets"
    mkdir -m 700 "$CACHE/secrets"
    "$PY" - "$CACHE/secrets" <<'PYTHON'
import ast, pathlib, subprocess, sys

folder = pathlib.Path(sys.argv[1])
listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
settings = {}
for line in listed.splitlines():
    place, _, value = line.partition("=")
    section, _, name = place.partition(".")
    if section in ("global", "install", ":env:"):  # the environment comes last, and wins
        settings[name] = ast.literal_eval(value)
settings = {name: value for name, value in settings.items() if name in
            ("index-url", "extra-index-url", "trusted-host", "proxy", "cert", "default-timeout", "timeout", "retries")}
(folder / "ca.crt").touch()
if cert := settings.pop("cert", ""):
    (folder / "ca.crt").write_bytes(pathlib.Path(cert).read_bytes())
    settings["cert"] = "/etc/build-ca.crt"
(folder / "pip.conf").write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
PYTHON
}

base() {
    command -v buildah > /dev/null || { say "a base from Debian's packages needs buildah and debootstrap"; exit 3; }
    bud inspect --type image "$LOCAL_BASE" > /dev/null 2>&1 && { echo "$LOCAL_BASE"; return; }
    command -v debootstrap > /dev/null || { say "needs debootstrap: apt-get install debootstrap"; exit 3; }
    [ "$(id -u)" = 0 ] || { say "debootstrap needs root"; exit 3; }
    if [ ! -e "$CACHE/base/.done" ]; then
        rm -rf "$CACHE/base"
        mkdir -p "$CACHE"
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$CACHE/base" >&2
        rm -rf "$CACHE"/base/var/cache/apt/* "$CACHE"/base/var/lib/apt/lists/*
        touch "$CACHE/base/.done"
    fi
    local container
    container=$(bud from scratch)
    bud copy --quiet "$container" "$CACHE/base" / >&2
    bud commit --quiet --rm "$container" "$LOCAL_BASE" >&2
    echo "$LOCAL_BASE"
}

build() {
    local with arguments=()
    with=$(engine) || exit $?
    secrets
    trap 'rm -rf "$CACHE/secrets"' EXIT
    case "${BASE:-}" in
    "") ;;
    debian) arguments+=(--build-arg "BASE=$(base)") ;;
    *) arguments+=(--build-arg "BASE=$BASE") ;;
    esac
    arguments+=(--secret "id=pip,src=$CACHE/secrets/pip.conf" --secret "id=ca,src=$CACHE/secrets/ca.crt")
    arguments+=(--label "org.opencontainers.image.version=$(tag)")
    arguments+=(--label "org.opencontainers.image.revision=$(git rev-parse HEAD 2> /dev/null || echo unknown)")
    for image in "$@"; do
        [ -f "$(dockerfile "$image")" ] || { say "no image $image; there are ${IMAGES[*]}"; exit 2; }
        say "building $(name "$image") with $with"
        case "$with" in
        buildah) bud build --format docker --quiet "${arguments[@]}" -t "$(name "$image")" -f "$(dockerfile "$image")" . ;;
        *) DOCKER_BUILDKIT=1 "$with" build --quiet "${arguments[@]}" -t "$(name "$image")" -f "$(dockerfile "$image")" . ;;
        esac
    done
}

# Runs as the image's own user, with the image's own entry point and this shell's settings, on the machine's network.
run() {
    local image=$1 name with container entry=() settings=() status=0
    shift
    with=$(engine) || exit $?
    while read -r name; do settings+=(--env "$name=${!name}"); done < <(compgen -e | grep -E '^(CROSSFADE|OTEL|AWS)_')
    read -ra entry <<< "${ENTRYPOINT:-}"
    if [ "$with" != buildah ]; then
        exec "$with" run --rm --network host --read-only --tmpfs /tmp "${settings[@]}" \
            ${entry[0]:+--entrypoint "${entry[0]}"} "$(name "$image")" "${entry[@]:1}" "$@"
    fi
    container=$(bud from "$(name "$image")")
    trap 'bud rm "$container" > /dev/null' EXIT
    if [ ${#entry[@]} = 0 ]; then
        mapfile -t entry < <(bud inspect --type image --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' "$(name "$image")" | sed '/^$/d')
    fi
    bud run "${settings[@]}" "$container" -- "${entry[@]}" "$@" || status=$?
    exit "$status"
}

sizes() {
    local with image
    with=$(engine) || exit $?
    for image in "${IMAGES[@]}"; do
        if [ "$with" = buildah ]; then
            bud images --format '{{.Size}}' "$(name "$image")" 2> /dev/null | sed "s/^/$image /" || true
        else
            "$with" image inspect --format "$image {{.Size}}" "$(name "$image")" 2> /dev/null || true
        fi
    done
}

case "${1:-build}" in
base) base ;;
engine) engine ;;
sizes) sizes ;;
run) shift; run "$@" ;;
build) shift || true; [ $# -gt 0 ] && build "$@" || build "${IMAGES[@]}" ;;
-*) sed -n '2,12p' "$0" >&2; exit 2 ;;
*) build "$@" ;;
esac
