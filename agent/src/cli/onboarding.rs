//! The commands on a scope: `onboard` and `offboard`.

use std::path::Path;

use http::Method;

use super::arguments::{AppName, Content, EnvironmentName, OffboardScope, OnboardScope, Strategy, TeamName};
use super::client::{Client, segment};
use super::console::{Console, printable};
use super::error::CliError;
use super::{secrets, source};
use crate::secret::SecretValue;

#[derive(serde::Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<&'static str>,
    secrets: Vec<Named<'a>>,
}

#[derive(serde::Serialize)]
struct Named<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(serde::Deserialize)]
struct Onboarded {
    items: Vec<Item>,
}

#[derive(serde::Deserialize)]
struct Item {
    name: String,
    id: String,
}

/// Takes the client as a function: see `secrets::put`.
pub(super) fn onboard(
    client: impl FnOnce() -> Result<Client, CliError>,
    scope: OnboardScope,
    console: &mut Console,
) -> Result<(), CliError> {
    let (path, content) = match scope {
        OnboardScope::Environment { name, content } => (environment(&name), content),
        OnboardScope::Team { name, content } => (team(&name), content),
        OnboardScope::App { name, content } => (app(&name), content),
    };
    let Content { strategy, secrets } = content;
    let secrets = secrets.into_iter().map(named).collect::<Result<Vec<_>, _>>()?;
    let bytes = secrets.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let strategy = strategy.map(|strategy| match strategy {
        Strategy::Merge => "merge",
        Strategy::Replace => "replace",
    });
    let entries = secrets.iter().map(|(name, value)| Named { name, value: value.expose() }).collect();
    let body = source::json(&Body { strategy, secrets: entries }, bytes)?;

    let client = client()?;
    let answer = client.call(Method::PUT, &path, Some(body))?;
    if client.json {
        return secrets::print_json(&answer, console);
    }
    let onboarded: Onboarded = answer.parse()?;
    for item in onboarded.items {
        console.line(format!("{}  {}", printable(&item.name), printable(&item.id)))?;
    }
    Ok(())
}

pub(super) fn offboard(client: &Client, scope: &OffboardScope, console: &mut Console) -> Result<(), CliError> {
    let path = match scope {
        OffboardScope::Environment(name) => environment(name),
        OffboardScope::Team(name) => team(name),
        OffboardScope::App(name) => app(name),
    };
    client.call(Method::DELETE, &path, None)?;
    Ok(console.remark("offboarded")?)
}

/// One `NAME=VALUE` or `NAME=@FILE`.
fn named(argument: String) -> Result<(String, SecretValue), CliError> {
    let argument = SecretValue::new(argument);
    let (name, value) =
        argument.expose().split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(CliError::Usage {
            what: "a --secret has no name or no `=`",
            advice: "write NAME=VALUE or NAME=@FILE",
        })?;
    let value = match value.strip_prefix('@') {
        Some("") => {
            let advice = "write NAME=@FILE; a value that itself starts with @ needs a file";
            return Err(CliError::Usage { what: "a --secret names no file after its @", advice });
        }
        Some(file) => source::file(Path::new(file))?,
        None => SecretValue::new(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}

fn environment(name: &EnvironmentName) -> String {
    format!("/api/v1/onboarding/environments/{}", segment(&name.environment))
}

fn team(name: &TeamName) -> String {
    format!("{}/teams/{}", environment(&name.within), segment(&name.team))
}

fn app(name: &AppName) -> String {
    format!("{}/apps/{}", team(&name.within), segment(&name.app))
}
