# What one cluster is called on this machine: its directory, cgroups, interface and addresses. Sourced.
# shellcheck shell=bash disable=SC2034

home="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
name="${CLOAKROOM_CLUSTER:-default}"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/cloakroom-tests"
state="$cache/clusters/$name"
pki="$state/pki"
logs="$state/log"

# Everything that outlives a crash carries this id, so that it is found again without the state directory.
id="cloakroom-$(printf %s "$state" | sha256sum | cut -c1-8)"
# An interface's name has at most 15 bytes.
link="crm-${id#cloakroom-}"

node=node1
pods=10.244.1.0/24
services=10.96.0.0/16
kubernetes_service=10.96.0.1
dns_service=10.96.0.10
# The range outside of which `network` is chosen: 10.99.N.0/30, the host at .1 and the node at .2.
networks=10.99

die() {
    echo "cluster: $*" >&2
    exit 1
}

began=${EPOCHREALTIME/./}
progress() {
    local passed=$(((${EPOCHREALTIME/./} - began) / 10000))
    printf '%4d.%02d s  %s\n' $((passed / 100)) $((passed % 100)) "$*"
}

# Polls CMD until it succeeds or SECONDS have passed.
wait_for() {
    local what="$1" seconds="$2" until
    shift 2
    until=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || die "$what: not within $seconds s"
        sleep 0.1
    done
}

host_address() { echo "$networks.$(cat "$state/network").1"; }
node_address() { echo "$networks.$(cat "$state/network").2"; }
