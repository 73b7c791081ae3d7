//! Where the cases happen: namespaces, roles as they are delivered, and an account.

use cloakroom_tests::cluster::{Account, Cluster};

/// The namespaces of the scopes in the cases.
pub(crate) const NAMESPACES: [&str; 3] = ["poc", "poc--eni--hyperion", "other"];

/// What the agents of the tests may do with Secrets.
pub(crate) const BACKEND_ROLE: &str = "cloakroom-backend-onboarder";

/// The roles as they are delivered.
const ROLES: &str = include_str!("../../charts/cloakroom/files/roles.yaml");

/// The cluster with the roles, and one account that may do everything with the Secrets of the cases and nothing else.
pub(crate) fn prepared() -> (Cluster, Account) {
    let cluster = Cluster::get();
    cluster.apply(ROLES);
    for namespace in NAMESPACES {
        cluster.namespace(namespace);
    }
    let account = cluster.account(NAMESPACES[0]);
    for namespace in NAMESPACES {
        cluster.bind(&account, namespace, &[BACKEND_ROLE]);
    }
    (cluster, account)
}

/// The application's namespace.
pub(crate) const NAMESPACE: &str = "poc--eni--hyperion";
