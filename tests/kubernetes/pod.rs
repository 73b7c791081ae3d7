//! A pod on the real node: the agent as a native sidecar that somebody wrote by hand, and curl as the application.

use std::time::Duration;

use cloakroom_tests::agent::{binary, eventually};
use cloakroom_tests::cluster::{Account, Cluster, indented};

use super::place::{BACKEND_ROLE, NAMESPACE, NAMESPACES, prepared};

const SECRET: &str = "/api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:";
const APP: &str = "/api/v1/onboarding/environments/poc/teams/eni--hyperion/apps/my-app";

/// The namespace of the pods: an environment's, where the account lives too.
const PODS: &str = NAMESPACES[0];

/// Pod and job need some seconds each for image, volumes and probe.
const START: Duration = Duration::from_mins(1);

/// The agent's uid, and the group that may connect.
const UID: u32 = 65532;
const GROUP: u32 = 65533;

/// The spec of a pod whose application runs `command`.
fn spec(account: &Account, command: &str) -> String {
    let restricted = "allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true";
    format!(
        r#"
serviceAccountName: {name}
automountServiceAccountToken: false
restartPolicy: Never
terminationGracePeriodSeconds: 5
securityContext: {{runAsNonRoot: true, supplementalGroups: [{GROUP}], seccompProfile: {{type: RuntimeDefault}}}}
initContainers:
- name: cloakroom-agent
  image: cloakroom:test
  restartPolicy: Always
  command: [cloakroom, agent]
  env:
  - name: CLOAKROOM_CONFIG_INLINE
    value: "{{listen: {{group: {GROUP}, admin: ''}}, backend: {{kind: kubernetes}}}}"
  startupProbe: {{exec: {{command: [cloakroom, ready]}}, periodSeconds: 1, failureThreshold: 30}}
  resources: {{requests: {{cpu: 5m, memory: 16Mi}}, limits: {{memory: 64Mi}}}}
  securityContext: {{runAsUser: {UID}, runAsGroup: {UID}, {restricted}}}
  volumeMounts:
  - {{name: socket, mountPath: /run/cloakroom}}
  - {{name: token, mountPath: /var/run/secrets/cloakroom/kube, readOnly: true}}
containers:
- name: app
  image: client:test
  command: [sh, -c, {command:?}]
  securityContext: {{runAsUser: 1000, {restricted}}}
  volumeMounts:
  - {{name: socket, mountPath: /run/cloakroom, readOnly: true}}
volumes:
- {{name: socket, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}
- name: token
  projected:
    defaultMode: 0444
    sources:
    - serviceAccountToken: {{expirationSeconds: 3600, path: token}}
    - configMap: {{name: kube-root-ca.crt, items: [{{key: ca.crt, path: ca.crt}}]}}
"#,
        name = account.name
    )
}

/// The cluster with the agent's image, and an account that may do nothing of Cloakroom's yet.
fn ready() -> Option<(Cluster, Account)> {
    Cluster::own()?;
    let (cluster, account) = prepared();
    cluster.empty(NAMESPACE);
    let program = format!("{}:/usr/bin/cloakroom", binary().display());
    cluster.control(&["image", "cloakroom:test", "--user", &format!("{UID}:{UID}"), &program]);
    Some((cluster, account))
}

/// A request by curl inside the application's container; status and body.
fn curl(cluster: &Cluster, pod: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let url = format!("http://localhost{path}");
    let mut arguments =
        vec!["-n", PODS, "exec", pod, "-c", "app", "--", "curl", "-s", "-X", method, "-w", "\n%{http_code}"];
    arguments.extend(["--unix-socket", "/run/cloakroom/agent/agent.sock", "-H", "Content-Type: application/json"]);
    if !body.is_empty() {
        arguments.extend(["-d", body]);
    }
    arguments.push(&url);
    let printed = cluster.kubectl(&arguments);
    let (body, status) = printed.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn a_pod_submits_and_resolves_what_rbac_allows_it_and_sees_a_rotation_by_kubectl() {
    let Some((cluster, account)) = ready() else { return };
    let pod = account.name.as_str();
    let meta = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: {PODS}}}\nspec:\n");
    cluster.apply(&format!("{meta}{}\n", indented(spec(&account, "sleep 600").trim(), 2)));
    cluster.kubectl(&["-n", PODS, "wait", "--for=condition=Ready", "--timeout=60s", "pod", pod]);
    let ask = |method: &str, path: &str, body: &str| curl(&cluster, pod, method, path, body);

    let (_, whoami) = ask("GET", "/api/v1/whoami", "");
    let whoami: serde_json::Value = serde_json::from_str(&whoami).unwrap();
    assert_eq!(whoami["subject"], format!("system:serviceaccount:{PODS}:{pod}"));
    assert_eq!(whoami["pod"], pod, "the token is bound to the pod, and the API server says to which");

    assert_eq!(ask("PUT", APP, "{}").0, 403, "nobody has given it a right");
    let can_i = |right: &str| {
        let agent = ["-n", PODS, "exec", pod, "-c", "cloakroom-agent", "--", "cloakroom", "can-i", right];
        cluster.try_kubectl(&[&agent[..], &["poc/eni--hyperion/my-app"]].concat(), "")
    };
    let (may, said) = can_i("onboarding_write");
    assert!(!may && said.starts_with("no\n"), "{said}");
    cluster.bind(&account, NAMESPACE, &["cloakroom-onboarder", "cloakroom-writer"]);
    eventually(START, "onboarding is allowed", || ask("PUT", APP, "{}").0 == 200);
    assert_eq!(can_i("onboarding_write"), (true, "yes\n".to_owned()));
    assert_eq!(ask("PUT", SECRET, r#"{"value":"one"}"#).0, 200);
    assert_eq!(ask("GET", SECRET, "").0, 403, "who may write may not read");
    cluster.bind(&account, NAMESPACE, &["cloakroom-reader"]);
    eventually(START, "reading is allowed", || ask("GET", SECRET, "").0 == 200);
    assert!(ask("GET", SECRET, "").1.contains(r#""value":"one""#));

    let change = r#"{"data":{"clientSecret":"dHdv"}}"#;
    cluster.kubectl(&["-n", NAMESPACE, "patch", "secret", "my-app", "--type=merge", "-p", change]);
    eventually(Duration::from_secs(5), "the rotation is seen", || {
        ask("GET", SECRET, "").1.contains(r#""value":"two""#)
    });
    cluster.kubectl(&["-n", PODS, "delete", "pod", pod, "--wait=false"]);
}

#[test]
fn a_job_whose_application_ends_is_complete_with_the_agent_beside_it() {
    let Some((cluster, account)) = ready() else { return };
    cluster.bind(&account, NAMESPACE, &[BACKEND_ROLE, "cloakroom-onboarder", "cloakroom-writer", "cloakroom-reader"]);
    let ask = "curl -sf --retry 5 --retry-all-errors -H 'Content-Type: application/json' \
               --unix-socket /run/cloakroom/agent/agent.sock";
    let command = format!(
        "{ask} -X PUT -d '{{\"secrets\":[{{\"name\":\"clientSecret\",\"value\":\"for-a-job\"}}]}}' http://localhost{APP} && \
         {ask} http://localhost{SECRET}"
    );
    let name = account.name.as_str();
    let meta = format!("apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: {PODS}}}\nspec:\n");
    let pod = indented(spec(&account, &command).trim(), 6);
    cluster.apply(&format!("{meta}  backoffLimit: 0\n  template:\n    spec:\n{pod}\n"));
    cluster.kubectl(&["-n", PODS, "wait", "--for=condition=Complete", "--timeout=60s", "job", name]);
    let said = cluster.kubectl(&["-n", PODS, "logs", &format!("job/{name}"), "-c", "app"]);
    assert!(said.contains(r#""value":"for-a-job""#), "{said}");
    cluster.kubectl(&["-n", PODS, "delete", "job", name, "--wait=false"]);
}
