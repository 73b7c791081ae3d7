//! The functions and filters of templates: this list is all that a template can do beside its own loops and conditions.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::Mistake;
use super::run::Run;
use crate::render::format::{Unfit, encode};

/// What can be called by name.
pub(super) const NAMES: [&str; 12] =
    ["secret", "secrets", "b64enc", "b64dec", "json", "yaml", "toml", "properties", "shell", "xml", "url", "indent"];

/// What can be a filter.
pub(super) const FILTERS: [&str; 10] =
    ["b64enc", "b64dec", "json", "yaml", "toml", "properties", "shell", "xml", "url", "indent"];

/// Containers in containers that `json` writes.
const DEPTH_MAX: usize = 32;

const WIDTH_MAX: usize = 256;

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_function("secret", |state: &State<'_, '_>, id: &Value| {
        let run = run(state)?;
        let id = id.as_str().ok_or_else(|| run.refuse(Mistake::Id))?;
        run.secret(id)
    });
    environment.add_function("secrets", |state: &State<'_, '_>, ids: &Value| {
        let run = run(state)?;
        if ids.kind() != ValueKind::Seq {
            return Err(run.refuse(Mistake::Arguments));
        }
        let values = ids.try_iter().map_err(|_| run.refuse(Mistake::Arguments))?.map(|id| match id.as_str() {
            Some(id) => run.secret(id),
            None => Err(run.refuse(Mistake::Id)),
        });
        values.collect::<Result<Vec<Value>, Error>>().map(Value::from)
    });
    encoder(environment, "b64enc", |text, _| Ok(encode::b64enc(text)));
    encoder(environment, "b64dec", |text, run| match encode::b64dec(text) {
        Ok(decoded) => Ok(decoded),
        // A dummy is no base64 of anything, whatever the secret will be.
        Err(_) if run.is_of_dummies() => Ok(text.to_owned()),
        Err(_) => Err(Mistake::NotDecodable),
    });
    encoder(environment, "yaml", |text, _| Ok(encode::yaml(text)));
    encoder(environment, "toml", |text, _| Ok(encode::toml(text)));
    encoder(environment, "properties", |text, _| Ok(encode::properties(text)));
    encoder(environment, "shell", |text, _| fits(encode::shell(text)));
    encoder(environment, "xml", |text, _| fits(encode::xml(text)));
    encoder(environment, "url", |text, _| Ok(encode::url(text)));
    both(environment, "json", |state, value, rest: &Rest<Value>| {
        let run = run(state)?;
        if !rest.is_empty() {
            return Err(run.refuse(Mistake::Arguments));
        }
        let mut out = String::new();
        json(value, DEPTH_MAX, &mut out).map_err(|mistake| run.refuse(mistake))?;
        Ok(out)
    });
    environment.add_filter("indent", |state: &State<'_, '_>, value: &Value, rest: Rest<Value>, named: Kwargs| {
        indent(state, value, &rest, &named)
    });
    environment.add_function("indent", |state: &State<'_, '_>, value: &Value, rest: Rest<Value>, named: Kwargs| {
        indent(state, value, &rest, &named)
    });
}

/// `indent(text, width=4, first=false)`.
fn indent(state: &State<'_, '_>, value: &Value, rest: &Rest<Value>, named: &Kwargs) -> Result<String, Error> {
    let run = run(state)?;
    let arguments = || run.refuse(Mistake::Arguments);
    let text = text(value).filter(|_| rest.len() <= 2).ok_or_else(arguments)?;
    let argument = |position: usize, name: &'static str| {
        let by_name: Option<Value> = named.get(name).map_err(|_| arguments())?;
        match (rest.get(position).cloned(), by_name) {
            (Some(_), Some(_)) => Err(arguments()),
            (given, by_name) => Ok(given.or(by_name)),
        }
    };
    let (width, first) = (argument(0, "width")?, argument(1, "first")?);
    named.assert_all_used().map_err(|_| arguments())?;
    let width = match width {
        None => 4,
        Some(width) => {
            width.as_usize().filter(|width| *width <= WIDTH_MAX).ok_or_else(|| run.refuse(Mistake::Width))?
        }
    };
    // What is made must fit what may be made, before it is made.
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    if lines.saturating_mul(width) > super::TEMPLATE_BYTES_MAX * 8 {
        return Err(run.refuse(Mistake::Work));
    }
    Ok(encode::indent(&text, width, first.is_some_and(|first| first.is_true())))
}

fn fits(encoded: Result<String, Unfit>) -> Result<String, Mistake> {
    encoded.map_err(Mistake::from)
}

/// What a text encoder takes: a text, or a number or truth value as it would be written.
fn text(value: &Value) -> Option<std::borrow::Cow<'_, str>> {
    match value.kind() {
        ValueKind::String => value.as_str().map(Into::into),
        ValueKind::Bool => Some(if value.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Some(value.to_string().into()),
        _ => None,
    }
}

fn encoder(
    environment: &mut Environment<'static>,
    name: &'static str,
    encode: fn(&str, &Run) -> Result<String, Mistake>,
) {
    both(environment, name, move |state, value, rest| {
        let run = run(state)?;
        let text = text(value).filter(|_| rest.is_empty()).ok_or_else(|| run.refuse(Mistake::Arguments))?;
        encode(&text, &run).map_err(|mistake| run.refuse(mistake))
    });
}

/// A function that can be called and a filter of the same name.
fn both(
    environment: &mut Environment<'static>,
    name: &'static str,
    work: impl Fn(&State<'_, '_>, &Value, &Rest<Value>) -> Result<String, Error> + Clone + Send + Sync + 'static,
) {
    let filter = work.clone();
    environment
        .add_filter(name, move |state: &State<'_, '_>, value: &Value, rest: Rest<Value>| filter(state, value, &rest));
    environment
        .add_function(name, move |state: &State<'_, '_>, value: &Value, rest: Rest<Value>| work(state, value, &rest));
}

/// What the functions of one run share.
fn run(state: &State<'_, '_>) -> Result<std::sync::Arc<Run>, Error> {
    super::run::of(state).ok_or_else(|| Error::from(ErrorKind::InvalidOperation))
}

/// Any value as JSON. Text and keys by our own encoder, so that every escape is the one that the properties hold for.
fn json(value: &Value, depth: usize, out: &mut String) -> Result<(), Mistake> {
    let Some(deeper) = depth.checked_sub(1) else { return Err(Mistake::Operation) };
    match value.kind() {
        ValueKind::String => out.push_str(&encode::json(value.as_str().unwrap_or_default())),
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => {
            let text = value.to_string();
            // JSON has no infinity and no NaN.
            if text.contains(['i', 'n', 'N']) {
                return Err(Mistake::Operation);
            }
            out.push_str(&text);
        }
        ValueKind::Seq => {
            out.push('[');
            for (index, item) in value.try_iter().map_err(|_| Mistake::Operation)?.enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                json(&item, deeper, out)?;
                within(out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter().map_err(|_| Mistake::Operation)?.enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                let name = key.as_str().ok_or(Mistake::Operation)?;
                out.push_str(&encode::json(name));
                out.push(':');
                json(&value.get_item(&key).map_err(|_| Mistake::Operation)?, deeper, out)?;
                within(out)?;
            }
            out.push('}');
        }
        _ => return Err(Mistake::Operation),
    }
    Ok(())
}

/// A list may hold one text many times.
fn within(out: &str) -> Result<(), Mistake> {
    if out.len() > super::TEMPLATE_BYTES_MAX * 8 { Err(Mistake::Work) } else { Ok(()) }
}
