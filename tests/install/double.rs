//! The double of Conjur as a program of a pod: `conjur-double DIRECTORY` serves TLS on port 8443 as the files of the
//! directory say, and prints the authority that has to be trusted.
#![expect(clippy::print_stdout, reason = "what it prints is how the test learns of the authority")]

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context as _;
use cloakroom_tests::conjur::{FakeConjur, JwtService, Settings};
use cloakroom_tests::conjur_agent::SERVICE;

const PORT: u16 = 8443;

fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("conjur-double DIRECTORY")?);
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).with_context(|| format!("reading {name}"));
    let (name, issuer, public_keys, policy) =
        (read("name")?, read("issuer")?, read("public-keys")?, read("policy.yaml")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = (Ipv4Addr::UNSPECIFIED, PORT).into();
        let fake = FakeConjur::with(Settings { address, names: vec![name], ..Settings::default() }).await;
        fake.enable_jwt(SERVICE, &JwtService { public_keys, issuer: Some(issuer), ..JwtService::default() });
        fake.admin_load("root", &policy);
        println!("{}", fake.ca_pem());
        std::future::pending::<()>().await;
        Ok(())
    })
}
