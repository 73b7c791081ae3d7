//! The double of Conjur as a process of its own: one team with applications that each hold a value.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cloakroom_agent::conjur::policy::{self, LoadInto, RootBranch};
use cloakroom_agent::id::{Scope, ScopeKind, Slot};
use cloakroom_agent::slots::Catalogue;
use cloakroom_tests::conjur::{FakeConjur, Settings};

pub(crate) const ACCOUNT: &str = "main";
pub(crate) const LOGIN: &str = "host/bench";

/// How many applications there are.
pub(crate) const APPS: usize = 50;

/// Longer than a bench runs.
const TOKEN_LIFE: Duration = Duration::from_hours(1);

/// The id of an application's secret.
pub(crate) fn variable(app: usize) -> String {
    format!("controlplane/poc/eni--hyperion/app-{app}/clientSecret")
}

/// Serves for ever. What a client needs to know is in files of `directory`, once its socket is there.
pub(crate) fn serve(directory: &Path, latency: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let fake = FakeConjur::with(Settings { account: ACCOUNT.to_owned(), ..Settings::default() }).await;
        fake.set_token_ttl(TOKEN_LIFE);
        fill(&fake)?;
        let key = fake.host("bench");
        fake.admin_load("root", "- !grant\n  role: !group controlplane/readers\n  member: !host bench\n");
        for (name, content) in [
            ("url", fake.url()),
            ("ca.pem", fake.ca_pem()),
            ("api-key", key),
            ("authorization", fake.authorization(LOGIN)),
        ] {
            fs::write(directory.join(name), content).with_context(|| format!("writing {name}"))?;
        }
        fake.set_latency(latency);
        let ready = tokio::net::UnixListener::bind(directory.join("ready.sock"))?;
        loop {
            ready.accept().await?;
        }
    })
}

fn fill(fake: &FakeConjur) -> anyhow::Result<()> {
    let (root, catalogue) = (RootBranch::default(), Catalogue::default());
    let slots = |kind: ScopeKind| -> Vec<Slot> { catalogue.slots(kind).iter().map(|spec| spec.name.clone()).collect() };
    for app in 0..APPS {
        let scope = Scope::new("poc", "eni--hyperion", &format!("app-{app}"))?;
        let load = policy::onboard(&root, &scope, &slots, LoadInto::Root);
        fake.admin_load(&load.branch, &load.body);
        fake.set_value(&variable(app), format!("s3cr3t-of-some-length-{app}"));
    }
    Ok(())
}
