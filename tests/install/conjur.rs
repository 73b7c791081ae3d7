//! Pods whose secrets are in Conjur: the double over TLS behind a Service, logins by the kubelet's own tokens.

use cloakroom_agent::access::{Right, Subject};
use cloakroom_agent::conjur::policy::{HostGrant, OperatorPolicy, RootBranch};
use cloakroom_agent::id::ScopePattern;
use cloakroom_tests::agent::{binary, eventually};
use cloakroom_tests::cluster::indented;
use cloakroom_tests::conjur_agent::{ALL, SERVICE};
use serde_json::{Value, json};

use super::pods::{Pod, curl};
use super::release::{ACCOUNT, Release, SCOPE, START, TEAM, example};

/// What the example reads.
const SECRET: &str = "/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2Ffoo%2Fpassword:";

/// What the control plane's pod is called: the example's values bind it to the Leases.
const ROVER: &str = "rover";

/// Conjur in a pod of its own, set up as its operator does: the policy that we print, and the cluster's own keys and
/// issuer. Gives the authority that signed its certificate.
fn conjur(release: &Release) -> String {
    let cluster = &release.cluster;
    let told = |path: &str| -> Value { serde_json::from_str(&cluster.kubectl(&["get", "--raw", path])).unwrap() };
    let files = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conjur", "namespace": "conjur"},
        "data": {
            "name": "conjur.conjur.svc",
            "issuer": told("/.well-known/openid-configuration")["issuer"],
            "public-keys": json!({"type": "jwks", "value": told("/openid/v1/jwks")}).to_string(),
            "policy.yaml": policy(),
        },
    });
    cluster.namespace("conjur");
    release.wait("conjur", "serviceaccount/default", "create");
    release.delete("conjur", &["pod,service,configmap", "conjur"]);
    let program = binary().with_file_name("conjur-double");
    cluster.control(&["image", "conjur-double:test", "--user", "65532:65532", program.to_str().unwrap()]);
    cluster.apply(&files.to_string());
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: conjur, namespace: conjur}\n\
         spec: {selector: {app: conjur}, ports: [{name: https, port: 443, targetPort: 8443}]}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: conjur, namespace: conjur, labels: {app: conjur}}\nspec:\n  \
         containers:\n  - name: conjur\n    image: conjur-double:test\n    command: [conjur-double, /etc/conjur]\n    \
         readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}\n    \
         volumeMounts: [{name: files, mountPath: /etc/conjur}]\n  \
         volumes: [{name: files, configMap: {name: conjur}}]\n",
    );
    release.wait("conjur", "pod/conjur", "condition=Ready");
    cluster.kubectl(&["-n", "conjur", "logs", "conjur"])
}

/// What `cloakroom conjur policy` prints for the control plane's account and the team's.
fn policy() -> String {
    let grant = |name: &str, right: Right, scope: &str| HostGrant {
        subject: Subject::parse(&format!("system:serviceaccount:{name}")).unwrap(),
        right,
        scope: ScopePattern::parse(scope).unwrap(),
    };
    let mut grants: Vec<HostGrant> =
        ALL.iter().map(|right| grant(&format!("control-plane:{ROVER}"), *right, "*")).collect();
    grants.push(grant(&format!("{TEAM}:{ACCOUNT}"), Right::SecretsRead, "poc/eni--hyperion/my-app"));
    let policy = OperatorPolicy {
        root: RootBranch::default(),
        hosts: RootBranch::parse("apps").unwrap(),
        service: SERVICE.to_owned(),
        authenticator: None,
        may_delete: true,
        grants,
    };
    policy.text()
}

/// The example's values with this Conjur's authority in them, as a file.
fn values(authority: &str) -> tempfile::NamedTempFile {
    let text = example("conjur-values.yaml");
    let (before, rest) = text.split_once("            -----BEGIN CERTIFICATE-----\n").unwrap();
    let (_, after) = rest.split_once("-----END CERTIFICATE-----\n").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{before}{}{after}", indented(authority.trim(), 12))).unwrap();
    file
}

#[test]
fn a_pod_onboards_on_conjur_and_the_example_resolves_there_with_the_kubelets_token() {
    let Some(release) = Release::installed() else { return };
    let values = values(&conjur(&release));
    release.cluster.namespace("control-plane");
    release.upgrade(&["-f", values.path().to_str().unwrap()]);
    let cluster = &release.cluster;

    // The control plane hands a value in, from a pod of its own.
    cluster.apply(&format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {ROVER}, namespace: control-plane}}\n"
    ));
    for role in ["cloakroom-onboarder", "cloakroom-writer"] {
        for namespace in ["poc", SCOPE] {
            cluster.apply(&format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
                     metadata: {{name: {ROVER}-{role}, namespace: {namespace}}}\n\
                     roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
                     subjects: [{{kind: ServiceAccount, name: {ROVER}, namespace: control-plane}}]\n"
            ));
        }
    }
    let call = |method: &str, path: &str, body: &str| {
        format!(
            "curl -sS --fail-with-body -X {method} -H Content-Type:application/json -d {body} \
                 --unix-socket /run/cloakroom/agent/agent.sock http://localhost/api/v1{path}"
        )
    };
    let onboarding = "/onboarding/environments/poc";
    let secrets = r#""{\"secrets\":[{\"name\":\"externalSecrets/foo/password\",\"value\":\"s3cr3t\"}]}""#;
    let commands = [
        call("PUT", onboarding, "{}"),
        call("PUT", &format!("{onboarding}/teams/eni--hyperion"), "{}"),
        call("PUT", &format!("{onboarding}/teams/eni--hyperion/apps/my-app"), secrets),
    ];
    let rover = Pod::new(ROVER).runs(&commands.join(" && ")).spec("restartPolicy: Never").yaml();
    let rover = rover
        .replace(&format!("namespace: {TEAM}"), "namespace: control-plane")
        .replace(&format!("serviceAccountName: {ACCOUNT}"), &format!("serviceAccountName: {ROVER}"));
    release.delete("control-plane", &["pod", ROVER]);
    cluster.apply(&rover);
    ended(&release, "control-plane", ROVER);

    // The team's pod reads it, as the example says.
    release.delete(TEAM, &["pod", "my-app"]);
    cluster.apply(&example("conjur.yaml"));
    ended(&release, TEAM, "my-app");
    let said = cluster.kubectl(&["-n", TEAM, "logs", "my-app", "-c", "app"]);
    assert!(said.contains(r#""value":"s3cr3t""#), "{said}");

    // And so does any other program of any user; what it may not, it may not.
    Pod::new("reader").container("securityContext: {runAsUser: 2000}").ready(&release);
    let (status, body) = curl(cluster, "reader", "app", "GET", SECRET);
    assert!(status == 200 && body.contains("s3cr3t"), "{status} {body}");
    let (status, _) = curl(cluster, "reader", "app", "DELETE", SECRET);
    assert_eq!(status, 403);
    release.delete(TEAM, &["pod", "reader", "my-app"]);
    release.delete("default", &["namespace", "control-plane", "conjur"]);
}

/// Waits until a pod has ended well.
fn ended(release: &Release, namespace: &str, pod: &str) {
    let phase = || release.cluster.kubectl(&["-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.phase}"]);
    eventually(START, "the pod has ended", || matches!(&*phase(), "Succeeded" | "Failed"));
    let logs = |container: &str| release.cluster.try_kubectl(&["-n", namespace, "logs", pod, "-c", container], "").1;
    assert_eq!(phase(), "Succeeded", "{}\n{}", logs("app"), logs("cloakroom-agent"));
}
