//! Pods that ask for an agent, and what is in them.

use cloakroom_tests::cluster::{Cluster, indented};

use super::release::{ACCOUNT, Release, TEAM};

/// A secret that the account may read.
pub(crate) const SECRET: &str = "/api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:";

/// The socket of an injected pod.
pub(crate) const SOCKET: &str = "/run/cloakroom/agent/agent.sock";

/// A pod with one container `app` whose image has curl and a shell.
pub(crate) struct Pod {
    name: String,
    metadata: String,
    spec: String,
    container: String,
    command: String,
}

impl Pod {
    /// It asks by label, and sleeps.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            metadata: "labels: {cloakroom.dev/inject: 'true'}".to_owned(),
            spec: String::new(),
            container: String::new(),
            command: "trap 'exit 0' TERM; sleep 3600 & wait".to_owned(),
        }
    }

    /// What its shell does.
    pub(crate) fn runs(mut self, command: &str) -> Self {
        command.clone_into(&mut self.command);
        self
    }

    /// More fields of its spec, a line each.
    pub(crate) fn spec(mut self, lines: &str) -> Self {
        self.spec += &indented(lines, 2);
        self
    }

    /// More fields of its container, a line each.
    pub(crate) fn container(mut self, lines: &str) -> Self {
        self.container += &indented(lines, 4);
        self
    }

    /// Metadata instead of the label that asks, a line each.
    pub(crate) fn metadata(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.metadata);
        self
    }

    /// The manifest.
    pub(crate) fn yaml(&self) -> String {
        let metadata = indented(&self.metadata, 2);
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: {TEAM}\n{metadata}spec:\n  \
             serviceAccountName: {ACCOUNT}\n  automountServiceAccountToken: false\n  \
             terminationGracePeriodSeconds: 10\n{}  containers:\n  - name: app\n    image: client:test\n    \
             command: [sh, -c, {:?}]\n{}",
            self.name, self.spec, self.command, self.container
        )
    }

    /// Makes it, and waits until it is ready.
    pub(crate) fn ready(&self, release: &Release) {
        self.created(release);
        release.wait(TEAM, &format!("pod/{}", self.name), "condition=Ready");
    }

    /// Makes it anew.
    pub(crate) fn created(&self, release: &Release) {
        release.delete(TEAM, &["pod", &self.name]);
        let (made, said) = release.cluster.try_kubectl(&["create", "-f", "-"], &self.yaml());
        assert!(made, "{said}\n{}", self.yaml());
    }
}

/// A request by curl inside a container; status and body.
pub(crate) fn curl(cluster: &Cluster, pod: &str, container: &str, method: &str, path: &str) -> (u16, String) {
    let url = format!("http://localhost{path}");
    let (_, printed) = cluster.try_kubectl(
        &[
            "-n",
            TEAM,
            "exec",
            pod,
            "-c",
            container,
            "--",
            "curl",
            "-sS",
            "-X",
            method,
            "-w",
            "\n%{http_code}",
            "--unix-socket",
            SOCKET,
            &url,
        ],
        "",
    );
    let (body, status) = printed.trim_end().rsplit_once('\n').unwrap_or(("", "0"));
    (status.parse().unwrap_or(0), if body.is_empty() { printed.clone() } else { body.to_owned() })
}

/// The command of curl that resolves [`SECRET`].
pub(crate) fn resolve() -> String {
    format!("curl -sf --unix-socket {SOCKET} http://localhost{SECRET}")
}
