# What the machine must offer, and what of it is missing. Sourced.
# shellcheck shell=bash disable=SC2154

# command-or-file package
needed() {
    cat <<'TEXT'
containerd containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
/usr/lib/cni/host-local containernetworking-plugins
nft nftables
busybox busybox-static
curl curl
openssl openssl
jq jq
ip iproute2
ss iproute2
nsenter util-linux
setsid util-linux
sysctl procps
cc gcc
TEXT
}

missing_packages() {
    local what package
    needed | while read -r what package; do
        command -v "$what" >/dev/null || echo "$package"
    done | sort -u
}

# Prints one sentence for each thing that keeps the cluster from running here; says nothing when it can run.
missing() {
    local packages least have
    [ "$(id -u)" = 0 ] || echo "it needs root, for namespaces and mounts"
    [ -d /sys/fs/cgroup/freezer ] || echo "it needs cgroup v1 hierarchies under /sys/fs/cgroup"
    least="$(sed -n 's/^go //p' "$home"/{node,dns}/go.mod | sort -V | tail -1)"
    if command -v go >/dev/null; then
        have="$(go env GOVERSION | sed 's/^go//; s/[- ].*//')"
        [ "$(printf '%s\n' "$least" "$have" | sort -V | head -1)" = "$least" ] || echo "it needs Go $least or newer, this is $have"
    else
        echo "it needs Go $least or newer (https://go.dev/dl)"
    fi
    packages="$(missing_packages | paste -sd' ')"
    [ -z "$packages" ] || echo "it needs the packages $packages (apt-get install $packages)"
}
