//! The environment as an argument: captured once by `main`, asked by name everywhere else.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::kubernetes::Address;

/// The variables that the process was started with, in their order. An empty one counts as not set.
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Takes the variables over.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let set = |(known, value): &&(OsString, OsString)| known == name && !value.is_empty();
        self.0.iter().rev().find(set).map(|(_, value)| value.as_os_str())
    }

    /// Every variable, also an empty one, for a program that is to have them.
    pub(super) fn variables(&self) -> &[(OsString, OsString)] {
        &self.0
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A base directory. The XDG specification has relative ones ignored: they would depend on where a shell stands.
    fn directory(&self, name: &str) -> Option<PathBuf> {
        self.path(name).filter(|path| path.is_absolute())
    }

    /// Where the API server is, as the kubelet tells every container.
    pub(super) fn api_server(&self) -> Address {
        let text = |name| self.get(name).and_then(OsStr::to_str);
        Address::from_environment(text("KUBERNETES_SERVICE_HOST"), text("KUBERNETES_SERVICE_PORT"))
    }

    /// Where a development agent keeps its state by default.
    pub(super) fn dev_state(&self) -> Option<PathBuf> {
        let base = self.directory("XDG_STATE_HOME").or_else(|| Some(self.directory("HOME")?.join(".local/state")));
        Some(base?.join("cloakroom"))
    }

    /// Where a development agent listens when its state is in `state`.
    pub(super) fn dev_socket(&self, state: Option<PathBuf>) -> Option<PathBuf> {
        let runtime = self.directory("XDG_RUNTIME_DIR").map(|base| base.join("cloakroom"));
        Some(runtime.or(state)?.join("agent.sock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn socket(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let environment = environment(variables);
        environment.dev_socket(environment.dev_state())
    }

    #[test]
    fn the_runtime_directory_goes_before_the_state_directory_and_that_before_home() {
        let all = [("XDG_RUNTIME_DIR", "/r"), ("XDG_STATE_HOME", "/s"), ("HOME", "/h")];
        assert_eq!(socket(&all), Some("/r/cloakroom/agent.sock".into()));
        assert_eq!(socket(&all[1..]), Some("/s/cloakroom/agent.sock".into()));
        assert_eq!(socket(&all[2..]), Some("/h/.local/state/cloakroom/agent.sock".into()));
        assert_eq!(socket(&[]), None);
    }

    #[test]
    fn empty_and_relative_directories_count_as_not_set() {
        let odd = [("XDG_RUNTIME_DIR", ""), ("XDG_STATE_HOME", "state"), ("HOME", "/h")];
        assert_eq!(socket(&odd), Some("/h/.local/state/cloakroom/agent.sock".into()));
    }
}
