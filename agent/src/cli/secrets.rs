//! The commands on one secret: `get`, `put`, `rotate` and `delete`.

use http::Method;
use zeroize::Zeroize as _;

use super::arguments::{IdArgument, PutArguments};
use super::client::{Answer, Client, segment};
use super::console::{Console, printable};
use super::error::CliError;
use super::source;
use crate::secret::SecretValue;

#[derive(serde::Deserialize)]
struct Secret {
    value: SecretValue,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    id: String,
    previous_id: Option<String>,
}

#[derive(serde::Serialize)]
struct PutBody<'a> {
    value: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    literal: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct RotateBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_previous: Option<&'a str>,
}

pub(super) fn get(client: &Client, secret: &IdArgument, console: &mut Console) -> Result<(), CliError> {
    let answer = client.call(Method::GET, &path(secret), None)?;
    if client.json {
        return print_json(&answer, console);
    }
    let secret: Secret = answer.parse()?;
    // Nothing is added, also not on a terminal: what is printed is the value.
    Ok(console.output.write_all(secret.value.expose().as_bytes())?)
}

/// Takes the client as a function: a command that was typed wrong says so before a missing agent is complained about.
pub(super) fn put(
    client: impl FnOnce() -> Result<Client, CliError>,
    arguments: PutArguments,
    console: &mut Console,
) -> Result<(), CliError> {
    let PutArguments { secret, value, file, stdin, literal } = arguments;
    let value = match (value, file, stdin) {
        (Some(value), _, _) => SecretValue::new(value),
        (_, Some(file), _) => source::file(&file)?,
        (_, _, Some(dash)) if dash == "-" => source::stdin(&mut console.input)?,
        (_, _, Some(mut typed)) => {
            typed.zeroize();
            return Err(usage("a value is not taken as a bare argument"));
        }
        (None, None, None) => return Err(usage("`put` needs a value")),
    };
    let body = source::json(&PutBody { value: value.expose(), literal }, value.len())?;
    let client = client()?;
    let answer = client.call(Method::PUT, &path(&secret), Some(body))?;
    print_stored(&client, &answer, console)
}

pub(super) fn rotate(
    client: &Client,
    secret: &IdArgument,
    keep_previous: Option<&str>,
    console: &mut Console,
) -> Result<(), CliError> {
    let body = source::json(&RotateBody { keep_previous }, 0)?;
    let answer = client.call(Method::POST, &format!("{}/rotate", path(secret)), Some(body))?;
    print_stored(client, &answer, console)
}

pub(super) fn delete(client: &Client, secret: &IdArgument, console: &mut Console) -> Result<(), CliError> {
    client.call(Method::DELETE, &path(secret), None)?;
    Ok(console.remark("deleted")?)
}

/// The answer as the API gave it, as one line.
pub(super) fn print_json(answer: &Answer, console: &mut Console) -> Result<(), CliError> {
    console.output.write_all(answer.text())?;
    Ok(console.line("")?)
}

fn print_stored(client: &Client, answer: &Answer, console: &mut Console) -> Result<(), CliError> {
    if client.json {
        return print_json(answer, console);
    }
    let stored: Stored = answer.parse()?;
    console.line(printable(&stored.id))?;
    match stored.previous_id {
        Some(previous) => Ok(console.line(printable(&previous))?),
        None => Ok(()),
    }
}

fn path(secret: &IdArgument) -> String {
    format!("/api/v1/secrets/{}", segment(&secret.id))
}

fn usage(what: &'static str) -> CliError {
    CliError::Usage { what, advice: "give it with --value V, with --file F, or with - on standard input" }
}
