# Images: packed from files of this machine and handed to containerd, never fetched. Sourced.
# shellcheck shell=bash disable=SC2154

# image NAME:TAG [--user UID:GID] FILE[:PATH]…
image() {
    local name="$1" file
    # The short name is what a manifest says; containerd keeps the long one.
    case "$name" in
    *.*/*:*) ;;
    */*:*) name="docker.io/$name" ;;
    *:*) name="docker.io/library/$name" ;;
    *) die "an image needs a tag: without one, pods ask a registry for the latest" ;;
    esac
    shift
    file="$(mktemp "$state/image.XXXXXX")"
    TMPDIR="$state" "$home/pack" "$file" "$name" "$@"
    enter ctr --namespace k8s.io images import "$file" >/dev/null || die "containerd refuses the image $name"
    rm -f "$file"
}

import_images() {
    image pause:test "$(readlink "$state/bin/pause"):/pause"
    image coredns:test "$(readlink "$state/bin/dns"):/coredns"
    image busybox:test "$(command -v busybox):/bin/busybox"
    image client:test "$(command -v curl)" "$(command -v busybox):/bin/busybox"
    # What the examples of the chart name.
    image curlimages/curl:8.16.0 "$(command -v curl)" "$(command -v busybox):/bin/busybox"
}
