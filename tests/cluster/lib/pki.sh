# Keys, certificates and kubeconfigs. Sourced.
# shellcheck shell=bash disable=SC2154
#
# Two authorities: `cluster` signs the clients, the kubelet and what the node's own daemons see of the API server;
# `serving` signs what everybody else sees of it. So the second can be rotated without the node noticing.

authority() {
    local file="$pki/$1" subject="$2"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 30 -subj "/CN=$subject" \
        -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature -keyout "$file.key" -out "$file.crt" 2>/dev/null
}

# certificate FILE AUTHORITY SUBJECT USAGE [NAMES]
certificate() {
    local file="$pki/$1" authority="$pki/$2" subject="$3" usage="$4" names="${5:-}"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$subject" -keyout "$file.key" 2>/dev/null |
        openssl x509 -req -CA "$authority.crt" -CAkey "$authority.key" -set_serial "0x$(openssl rand -hex 16)" -days 30 -sha256 -out "$file.crt" \
            -extfile <(
                echo "basicConstraints=CA:FALSE"
                echo "keyUsage=critical,digitalSignature"
                echo "extendedKeyUsage=$usage"
                [ -z "$names" ] || echo "subjectAltName=$names"
            ) 2>/dev/null
}

# kubeconfig FILE CERTIFICATE AUTHORITIES SERVER [SERVER_NAME]
kubeconfig() {
    local file="$pki/$1" certificate="$pki/$2" authorities="$pki/$3" server="$4" server_name="${5:-}"
    cat >"$file.new" <<YAML
apiVersion: v1
kind: Config
current-context: cluster
contexts:
- name: cluster
  context: {cluster: cluster, user: user}
clusters:
- name: cluster
  cluster:
    server: $server
    certificate-authority-data: $(base64 -w0 <"$authorities")
    ${server_name:+tls-server-name: $server_name}
users:
- name: user
  user:
    client-certificate-data: $(base64 -w0 <"$certificate.crt")
    client-key-data: $(base64 -w0 <"$certificate.key")
YAML
    mv "$file.new" "$file"
}

# The daemons ask for the API server by a name that only its certificate from the `cluster` authority carries.
inner_name=inner.cloakroom.test

inner_kubeconfig() {
    kubeconfig "$1.kubeconfig" "$1" cluster.crt https://127.0.0.1:6443 "$inner_name"
}

outer_kubeconfig() {
    kubeconfig admin.kubeconfig admin serving-bundle.crt "https://$(node_address):6443"
}

serving_certificate() {
    certificate "$1" "$2" /CN=kube-apiserver serverAuth \
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:$kubernetes_service,IP:$(node_address)"
}

make_pki() {
    local daemon
    mkdir -p "$pki"
    authority cluster cluster
    authority serving serving-1
    authority front-proxy front-proxy
    cp "$pki/serving.crt" "$pki/serving-bundle.crt"
    # RSA, as most clusters have it: Conjur verifies no other signature.
    openssl genrsa -out "$pki/service-accounts.key" 2048 2>/dev/null
    openssl rsa -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null
    serving_certificate apiserver serving
    certificate apiserver-inner cluster /CN=kube-apiserver serverAuth "DNS:$inner_name"
    certificate apiserver-kubelet cluster /O=system:masters/CN=kube-apiserver clientAuth
    certificate front-proxy-client front-proxy /CN=front-proxy-client clientAuth
    certificate kubelet-server cluster "/CN=system:node:$node" serverAuth "DNS:$node,IP:$(node_address)"
    certificate admin cluster /O=system:masters/CN=admin clientAuth
    certificate kubelet cluster "/O=system:nodes/CN=system:node:$node" clientAuth
    for daemon in kube-controller-manager kube-scheduler kube-proxy; do
        certificate "$daemon" cluster "/CN=system:$daemon" clientAuth
    done
    for daemon in kubelet kube-controller-manager kube-scheduler kube-proxy; do inner_kubeconfig "$daemon"; done
    kubeconfig inner-admin.kubeconfig admin cluster.crt https://127.0.0.1:6443 "$inner_name"
    outer_kubeconfig
}
