# The order in which a cluster comes up and goes down. Sourced.
# shellcheck shell=bash disable=SC2154

# Two calls for one cluster wait for each other. The lock lies outside the state, which `down` removes.
locked() {
    mkdir -p "$cache"
    exec 9>"$cache/cluster-$name.lock"
    flock 9
    "$@"
}

build_programs() {
    local program
    for program in pause dns node; do "$home/build" "$program" >/dev/null; done
    "$home/helm/build" >/dev/null
}

is_up() {
    [ -e "$state/complete" ] && init_pid >/dev/null
}

healthy() {
    local daemon
    is_up || return 1
    for daemon in $(expected_daemons); do [ -n "$(daemon_pids "$daemon")" ] || return 1; done
    apiserver_ready >/dev/null 2>&1
}

expected_daemons() {
    echo etcd kube-apiserver
    [ "$(cat "$state/mode")" != node ] || echo kube-controller-manager kube-scheduler containerd kubelet kube-proxy
}

link_program() {
    local program="$1" path
    shift
    path="$("$home/build" "$program" 9>&-)" || die "$program cannot be built"
    mkdir -p "$state/bin"
    for program in "$@"; do ln -sfn "$path" "$state/bin/$program"; done
}

up() {
    local mode=node version="" reasons
    while [ $# -gt 0 ]; do
        case "$1" in
        --server-only) mode=server-only ;;
        --version)
            version="${2:-}"
            [ -n "$version" ] || die "--version MINOR"
            shift
            ;;
        *) die "up [--server-only [--version MINOR]]" ;;
        esac
        shift
    done
    [ -z "$version" ] || [ "$mode" = server-only ] || die "the whole node is of one version; --version goes with --server-only"
    reasons="$(missing)"
    [ -z "$reasons" ] || die "cannot run here: $reasons"
    if [ "$(cat "$state/mode" 2>/dev/null)" = "$mode${version:+ $version}" ] && healthy; then
        progress "already up"
        return
    fi
    end_all
    mkdir -p "$state"
    # Keys lie in it, and the audit log.
    chmod 700 "$state"
    echo "$mode${version:+ $version}" >"$state/mode"
    trap 'boot_failed' EXIT
    trap 'exit 130' INT TERM HUP

    link_program pause pause
    link_program node etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl
    [ -z "$version" ] || link_program "server-$version" kube-apiserver
    [ "$mode" = server-only ] || link_program dns dns
    progress "programs are built"

    make_namespaces
    make_network
    make_pki
    progress "namespaces, network, certificates"
    boot_server
    if [ "$mode" = node ]; then boot_node; fi
    touch "$state/complete"
    trap - EXIT INT TERM HUP
    progress "up"
}

boot_server() {
    start_etcd
    start_apiserver
    if [ "$mode" = node ]; then
        # Meanwhile the images are unpacked.
        write_configuration
        start_containerd
        wait_for "containerd" 30 enter ctr version
        import_images
        progress "containerd has its images"
    fi
    wait_for "API server" 120 apiserver_ready
    progress "the API server is ready"
}

# The controller-manager ends when it finds the built-in roles unfinished, so nothing starts before the server is ready.
boot_node() {
    start_controller_manager
    start_scheduler
    start_kubelet
    start_proxy
    wait_for "ServiceAccount default" 60 kubectl --namespace default get serviceaccount default
    kubectl apply --filename "$home/manifests" >/dev/null
    wait_for "node Ready" 60 kubectl wait --for=condition=Ready "node/$node" --timeout=60s
    progress "the node is Ready"
    kubectl --namespace kube-system rollout status deployment/coredns --timeout=60s >/dev/null
    progress "DNS answers"
}

boot_failed() {
    local file
    trap - EXIT INT TERM HUP
    echo "cluster: the boot did not finish; the ends of the logs:" >&2
    for file in "$logs"/*.log; do
        [ "$(basename "$file")" = audit.log ] || tail -n 3 "$file" 2>/dev/null | sed "s/^/$(basename "$file" .log): /" >&2
    done
    end_namespaces
    echo "cluster: the whole logs are in $logs" >&2
}

end_all() {
    end_namespaces
    rm -rf "$state"
}

down() {
    end_all
    progress "down"
}

status() {
    local daemon
    if [ ! -e "$state/mode" ]; then
        echo "down"
        return
    fi
    echo "mode: $(cat "$state/mode")"
    echo "state: $state"
    for daemon in $(expected_daemons); do
        echo "$daemon: $(daemon_pids "$daemon" | paste -sd' ')"
    done
    if is_up; then echo "up, at https://$(node_address):6443"; else echo "not complete: \`up\` begins anew"; fi
}
