# Faults between the API server and everybody who is not one of the node's own daemons: the host and the pods. Sourced.
# shellcheck shell=bash disable=SC2154

# The daemons reach the API server over the loopback interface, which no rule here names.
fault_rules() {
    echo "table inet cloakroom_faults {"
    case "$1" in
    block)
        # Both ways: events on an open watch must not get out either.
        echo 'chain input { type filter hook input priority -10; iifname { "eth0", "cni0" } tcp dport 6443 drop; }'
        echo 'chain output { type filter hook output priority -10; oifname { "eth0", "cni0" } tcp sport 6443 drop; }'
        ;;
    reset)
        echo 'chain input { type filter hook input priority -10; iifname { "eth0", "cni0" } tcp dport 6443 reject with tcp reset; }'
        ;;
    esac
    echo "}"
}

clear_rules() {
    in_network nft destroy table inet cloakroom_faults 2>/dev/null || in_network nft delete table inet cloakroom_faults 2>/dev/null || true
}

signal_apiserver() {
    local pids
    mapfile -t pids < <(daemon_pids kube-apiserver)
    [ ${#pids[@]} -gt 0 ] || die "no API server runs"
    kill "-$1" "${pids[@]}"
}

fault() {
    case "${1:-}" in
    block | reset)
        clear_rules
        fault_rules "$1" | in_network nft -f -
        # An idle connection sends nothing that could be rejected, so those that are open are ended here. What ss says
        # about a family without sockets is not an error.
        [ "$1" = block ] || in_network ss --kill --no-header state established "( sport = :6443 and ( dst $(host_address) or dst $pods ) )" >/dev/null 2>&1
        ;;
    stall) signal_apiserver STOP ;;
    resume) signal_apiserver CONT ;;
    clear)
        clear_rules
        signal_apiserver CONT
        ;;
    *) die "fault block|reset|stall|resume|clear" ;;
    esac
}
