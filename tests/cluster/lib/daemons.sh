# The daemons: how each is started, found, stopped and known to be ready. Sourced.
# shellcheck shell=bash disable=SC2154

# daemon NAME CMD…: starts CMD in the node, with the log under its name. It becomes a child of the node's init: nsenter
# would stop together with a daemon that a test stops, and then never reap it.
daemon() {
    local log="$logs/$1.log"
    shift
    enter setsid --fork "$@" >>"$log" 2>&1 </dev/null 9>&-
}

# The ids, in the host's numbering, of the daemon that is called NAME.
daemon_pids() {
    local pid program
    for pid in $(daemons); do
        IFS= read -r -d '' program 2>/dev/null <"/proc/$pid/cmdline" || continue
        case "$program" in "$1" | "$state/bin/$1") echo "$pid" ;; esac
    done
}

stop_daemon() {
    local pids
    pids="$(daemon_pids "$1" | tr '\n' ' ')"
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086 # a list of numbers
    kill -KILL $pids 2>/dev/null || true
    wait_for "$1 to end" 10 sh -c "! kill -0 $pids"
}

start_etcd() {
    daemon etcd "$state/bin/etcd" --data-dir="$state/etcd" --unsafe-no-fsync --logger=zap --log-level=warn \
        --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380
}

start_apiserver() {
    daemon kube-apiserver "$state/bin/kube-apiserver" \
        --etcd-servers=http://127.0.0.1:2379 \
        --secure-port=6443 --advertise-address="$(node_address)" \
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --tls-sni-cert-key="$pki/apiserver-inner.crt,$pki/apiserver-inner.key" \
        --client-ca-file="$pki/cluster.crt" --anonymous-auth=false \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file="$pki/service-accounts.pub" --service-account-signing-key-file="$pki/service-accounts.key" \
        --service-cluster-ip-range="$services" \
        --kubelet-client-certificate="$pki/apiserver-kubelet.crt" --kubelet-client-key="$pki/apiserver-kubelet.key" \
        --kubelet-certificate-authority="$pki/cluster.crt" --kubelet-preferred-address-types=InternalIP \
        --requestheader-client-ca-file="$pki/front-proxy.crt" --requestheader-allowed-names=front-proxy-client \
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
        --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key" \
        --audit-policy-file="$home/audit-policy.yaml" --audit-log-path="$logs/audit.log" --audit-log-mode=blocking --audit-log-maxsize=100000
}

apiserver_ready() {
    in_network curl -sf --max-time 2 --cacert "$pki/cluster.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" \
        --resolve "$inner_name:6443:127.0.0.1" "https://$inner_name:6443/readyz"
}

# The three that a controller takes; prints one word a line.
own_kubeconfig() {
    printf -- "--%s=$pki/$1.kubeconfig\n" kubeconfig authentication-kubeconfig authorization-kubeconfig
}

start_controller_manager() {
    local flags
    mapfile -t flags < <(own_kubeconfig kube-controller-manager)
    # At the default rate the first ServiceAccounts take ten seconds.
    daemon kube-controller-manager "$state/bin/kube-controller-manager" "${flags[@]}" \
        --bind-address=127.0.0.1 --leader-elect=false --kube-api-qps=500 --kube-api-burst=1000 \
        --use-service-account-credentials=true --service-account-private-key-file="$pki/service-accounts.key" \
        --root-ca-file="$pki/serving-bundle.crt" \
        --cluster-signing-cert-file="$pki/cluster.crt" --cluster-signing-key-file="$pki/cluster.key" \
        --service-cluster-ip-range="$services"
}

start_scheduler() {
    local flags
    mapfile -t flags < <(own_kubeconfig kube-scheduler)
    daemon kube-scheduler "$state/bin/kube-scheduler" "${flags[@]}" --bind-address=127.0.0.1 --leader-elect=false
}

start_containerd() {
    daemon containerd containerd --config "$state/containerd.toml"
}

start_kubelet() {
    daemon kubelet "$state/bin/kubelet" --config="$state/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" \
        --hostname-override="$node" --node-ip="$(node_address)" --root-dir=/var/lib/kubelet --cert-dir=/var/lib/kubelet/pki
}

start_proxy() {
    daemon kube-proxy "$state/bin/kube-proxy" --config="$state/kube-proxy.yaml"
}
