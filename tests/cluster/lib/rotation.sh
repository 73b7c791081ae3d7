# Rotation of the authority that signs the API server's certificate, in the three steps of a real one. Sourced.
# shellcheck shell=bash disable=SC2154

# publish: everybody is given the old and the new authority. switch: the API server shows a certificate of the new
# one. retire: everybody is given the new authority alone. The name of the steps is the order.
rotate_ca() {
    case "${1:-all}" in
    publish)
        authority serving-next "serving-$(openssl rand -hex 3)"
        cat "$pki/serving-next.crt" "$pki/serving.crt" >"$pki/serving-bundle.crt"
        serve_bundle
        ;;
    switch)
        [ -e "$pki/serving-next.crt" ] || die "nothing is published yet"
        serving_certificate apiserver serving-next
        mv "$pki/serving-next.crt" "$pki/serving.crt"
        mv "$pki/serving-next.key" "$pki/serving.key"
        restart_apiserver
        ;;
    retire)
        cp "$pki/serving.crt" "$pki/serving-bundle.crt"
        serve_bundle
        ;;
    all)
        rotate_ca publish
        rotate_ca switch
        ;;
    *) die "rotate-ca [publish|switch|retire]" ;;
    esac
}

# The kubeconfig at once, the ConfigMaps by the controller-manager; the kubelet brings those into pods within its own
# time (about a minute).
serve_bundle() {
    outer_kubeconfig
    [ "$(cat "$state/mode")" = node ] || return 0
    stop_daemon kube-controller-manager
    start_controller_manager
    wait_for "the new bundle in kube-root-ca.crt" 60 bundle_published
}

bundle_published() {
    [ "$(kubectl --namespace kube-system get configmap kube-root-ca.crt --output 'jsonpath={.data.ca\.crt}')" = "$(cat "$pki/serving-bundle.crt")" ] &&
        [ "$(kubectl --namespace default get configmap kube-root-ca.crt --output 'jsonpath={.data.ca\.crt}')" = "$(cat "$pki/serving-bundle.crt")" ]
}

restart_apiserver() {
    stop_daemon kube-apiserver
    start_apiserver
    wait_for "API server" 60 apiserver_ready
}
