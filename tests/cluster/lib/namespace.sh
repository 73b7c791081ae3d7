# The node's namespaces and cgroups: made, entered and ended. Sourced.
# shellcheck shell=bash disable=SC2154
#
# The cgroup is the register of our processes: every daemon is moved into it before it starts, so ending the cluster
# needs no pid files, whatever was killed half-way.

# Each v1 hierarchy that is mounted, and the caller's own place in it.
hierarchies() {
    local controllers path
    while IFS=: read -r _ controllers path; do
        controllers="${controllers#name=}"
        [ -z "$controllers" ] || [ ! -d "/sys/fs/cgroup/$controllers" ] || echo "$controllers ${path%/}"
    done </proc/self/cgroup
}

cgroups() {
    find /sys/fs/cgroup -type d -name "$id" -prune
}

make_cgroups() {
    local hierarchy path directory
    while read -r hierarchy path; do
        directory="/sys/fs/cgroup/$hierarchy$path/$id"
        mkdir -p "$directory"
        if [ "$hierarchy" = cpuset ]; then
            # A cpuset starts empty, and no process may enter an empty one.
            cat "$directory/../cpuset.cpus" >"$directory/cpuset.cpus"
            cat "$directory/../cpuset.mems" >"$directory/cpuset.mems"
        fi
    done < <(hierarchies)
}

# The ids of all our processes, or of those in the node's own cgroup (the daemons, not the pods).
processes() {
    find /sys/fs/cgroup/freezer -path "*/$id*" -name cgroup.procs -exec cat {} + 2>/dev/null
}

daemons() {
    find /sys/fs/cgroup/freezer -path "*/$id/cgroup.procs" -exec cat {} + 2>/dev/null
}

in_cgroups() {
    local directory
    for directory in $(cgroups); do echo "$BASHPID" >"$directory/cgroup.procs"; done
    exec "$@"
}

init_pid() {
    local pid
    pid="$(cat "$state/init.pid" 2>/dev/null)" && grep -qs "/$id" "/proc/$pid/cgroup" && echo "$pid"
}

# Runs CMD in all of the node's namespaces. A cgroup namespace is joined without being moved, hence both.
enter() {
    local pid
    pid="$(init_pid)" || die "not up"
    (in_cgroups nsenter -t "$pid" -m -p -n -u -i -C -- "$@")
}

# Runs CMD in the node's network only, with the caller's files.
in_network() {
    local pid
    pid="$(init_pid)" || die "not up"
    nsenter -t "$pid" -n -- "$@"
}

make_namespaces() {
    local unshare
    mkdir -p "$state"/{kubelet,containerd,cni,pod-logs,container-logs,cni-config} "$logs"
    rm -f "$state/init.ready"
    make_cgroups
    (in_cgroups setsid unshare -m -p -n -u -i -C --fork --mount-proc --kill-child --propagation private \
        "$home/lib/init" "$state" "$node") >"$logs/init.log" 2>&1 </dev/null 9>&- &
    unshare=$!
    wait_for "namespaces" 10 test -e "$state/init.ready"
    # The first word is enough: nothing else is a child of unshare.
    awk '{print $1}' "/proc/$unshare/task/$unshare/children" >"$state/init.pid"
}

# A pair of interfaces joins the node to the host and to nothing else: there is no default route and no forwarding.
make_network() {
    local pid number
    pid="$(init_pid)"
    exec 8>"$cache/network.lock"
    # Two clusters that boot at the same moment must not choose the same range.
    flock 8
    number=0
    # Not `grep -q`: it leaves at once, and a pipe that breaks on a busy machine would count as a range that is free.
    while ip -o -4 address show | grep -F " $networks.$number." >/dev/null; do number=$((number + 1)); done
    [ $number -lt 256 ] || die "no range of $networks.0.0/16 is free"
    echo "$number" >"$state/network"
    ip link add "$link" type veth peer name eth0 netns "$pid"
    ip address add "$(host_address)/30" dev "$link"
    exec 8>&-
    ip link set "$link" up
    in_network ip address add "$(node_address)/30" dev eth0
    in_network ip link set lo up
    in_network ip link set eth0 up
    # The node's own packets to a service need some route, or they never reach the rules that translate them.
    in_network ip route add "$services" dev eth0
}

end_namespaces() {
    local directory pids
    for _ in $(seq 100); do
        # A frozen process does not die.
        find /sys/fs/cgroup/freezer -path "*/$id*" -name freezer.state 2>/dev/null | while read -r file; do
            [ "$(cat "$file" 2>/dev/null)" = THAWED ] || echo THAWED >"$file" 2>/dev/null || true
        done
        pids="$(processes | tr '\n' ' ')"
        [ -n "${pids// /}" ] || break
        # shellcheck disable=SC2086 # a list of numbers
        kill -KILL $pids 2>/dev/null || true
        sleep 0.05
    done
    [ -z "$(processes)" ] || die "these processes do not end: $(processes | tr '\n' ' ')"
    for _ in $(seq 100); do
        for directory in $(cgroups); do find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
        [ -n "$(cgroups)" ] || break
        # The last task of a cgroup is counted until the kernel has reaped it.
        sleep 0.05
    done
    [ -z "$(cgroups)" ] || die "these cgroups stay: $(cgroups | tr '\n' ' ')"
    # The interface goes with the namespace, but the kernel takes its time.
    ip link delete "$link" 2>/dev/null || true
}
