//! Templates: `MiniJinja` with strict names, a closed set of functions, and a bound on all work.
//!
//! There is nothing in here that reads the environment, files, the clock or the network, and no statement that loads
//! another template: the library is built without them. What a run may cost is counted by the library in fuel, which is
//! charged for each instruction and for each byte that is made, before it is made.
//!
//! An error is made of our own words and a line. The library's own text may quote what a template works on, so none of it
//! is ever looked at but its kind (T4).

mod functions;
mod lint;
mod run;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use zeroize::Zeroizing;

use crate::id::SecretId;
use run::{Limited, Run};

pub use run::Lookup;

/// Bytes of a template's own text.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;

/// What a run may do: one is an instruction, or 64 bytes that are made. 16 MiB in all.
const FUEL: u64 = 1 << 18;

/// What a first look may do (see [`Template::glance`]).
const GLANCE_FUEL: u64 = 1 << 14;

/// How long a run may take. It looks at the time itself wherever it writes or calls a function.
const TIME: Duration = Duration::from_secs(2);

/// What is waited for beyond that: between two such moments there may be work that costs one instruction and much time.
const GRACE: Duration = Duration::from_millis(200);

/// Different secrets of one template.
const IDS_MAX: usize = 1000;

/// The stack of the thread that reads a template: the library's reader calls itself for what is nested.
const STACK: usize = 16 << 20;

/// The only template of its environment.
const NAME: &str = "template";

/// Why a template cannot be used, or did not come to its end. Holds nothing of the template and nothing of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// In which line, from 1, where that is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub mistake: Mistake,
}

/// What can be wrong with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Not readable.
    #[error("this is no template; check braces, quotes and the ends of blocks")]
    Syntax,
    /// A statement, function, filter or test that does not exist.
    #[error(
        "there are the functions and filters secret, secrets, b64enc, b64dec, json, yaml, toml, properties, shell, xml, url \
         and indent, and no other function, filter or test"
    )]
    Unknown,
    /// A variable that was never set.
    #[error("a name is used that is not set in the template")]
    Undefined,
    /// Too long or too deep to be read.
    #[error("the template is longer, or an expression larger, than the limit")]
    TooLarge,
    /// The text given to `secret` is none.
    #[error("what is asked for is no secretId and no placeholder of one")]
    Id,
    /// More secrets than one file may hold.
    #[error("more different secrets are asked for than one file may use")]
    TooManyIds,
    /// Arguments.
    #[error("a function or filter is given too few or too many arguments, or one of the wrong kind")]
    Arguments,
    /// `[a:b]`.
    #[error("a text or a list is cut by [from:to], which templates cannot do")]
    Slice,
    /// An operation on values that do not have it.
    #[error("something is done with a value that cannot be done with it")]
    Operation,
    /// `b64dec`.
    #[error("b64dec is given something that is no base64 of a text")]
    NotDecodable,
    /// The format cannot hold the value.
    #[error("a value cannot be written like this: {0}")]
    Unfit(#[from] super::format::Unfit),
    /// `indent`.
    #[error("indent takes a width of at most 256")]
    Width,
    /// Fuel.
    #[error("the template does more work, or makes more text, than one may")]
    Work,
    /// Time.
    #[error("the template takes longer than one may")]
    Time,
    /// Output.
    #[error("the file would be larger than the limit")]
    Output,
    /// Something that none of the others is.
    #[error("the template cannot be run")]
    Other,
}

impl TemplateError {
    fn new(mistake: Mistake) -> Self {
        Self { line: None, mistake }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.mistake),
            None => self.mistake.fmt(f),
        }
    }
}

impl std::error::Error for TemplateError {}

/// What came of a run.
pub enum Rendered {
    /// The text.
    Text(Zeroizing<Vec<u8>>),
    /// These were asked for and are not known.
    Missing(Vec<SecretId>),
}

/// A template that was read, and run once with dummy values.
pub struct Template {
    environment: Arc<Environment<'static>>,
    /// What the run with dummy values asked for.
    ids: Vec<SecretId>,
    /// Of one that may not end in time: whether it runs now.
    running: Option<Arc<AtomicBool>>,
}

impl Template {
    /// Reads `source` and runs it with a dummy for each secret.
    ///
    /// # Errors
    /// [`TemplateError`]; no secret was touched.
    pub fn read(source: &str, output_max: usize) -> Result<Self, TemplateError> {
        let mut template = Self::compiled(source, FUEL)?;
        template.try_out(output_max)?;
        Ok(template)
    }

    /// Looks for mistakes as [`Template::read`] does, for a 64th of the work: for who judges templates of strangers. One
    /// that does more than that may be right.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn glance(source: &str, output_max: usize) -> Result<Self, TemplateError> {
        let mut template = Self::compiled(source, GLANCE_FUEL)?;
        match template.try_out(output_max) {
            Err(TemplateError { mistake: Mistake::Work, .. }) | Ok(()) => Ok(template),
            Err(error) => Err(error),
        }
    }

    fn compiled(source: &str, fuel: u64) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::new(Mistake::TooLarge));
        }
        let glance = lint::check(source)?;
        let environment = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().stack_size(STACK);
            let thread = reader.spawn_scoped(scope, || environment(source, fuel));
            let other = TemplateError::new(Mistake::Other);
            thread.map_err(|_| other)?.join().map_err(|_panicked| other)?
        })?;
        let running = glance.compares.then(Arc::default);
        Ok(Self { environment: Arc::new(environment), ids: Vec::new(), running })
    }

    /// Nothing is known to this run, so what it makes is thrown away with its dummies.
    fn try_out(&mut self, output_max: usize) -> Result<(), TemplateError> {
        let run = Run::dummies();
        self.once(&run, output_max)?;
        self.ids = run.asked();
        Ok(())
    }

    /// What a run with dummy values asked for: most often everything that it will ever ask for.
    pub fn ids(&self) -> &[SecretId] {
        &self.ids
    }

    /// Runs with the values that `lookup` knows. May take a while, so not on a thread that serves.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn render(&self, lookup: Lookup, output_max: usize) -> Result<Rendered, TemplateError> {
        let run = Run::with(lookup);
        let text = self.once(&run, output_max);
        // What is missing explains every other mistake: the run went on with dummies.
        let missing = run.missing();
        if missing.is_empty() { Ok(Rendered::Text(text?)) } else { Ok(Rendered::Missing(missing)) }
    }

    fn once(&self, run: &Arc<Run>, output_max: usize) -> Result<Zeroizing<Vec<u8>>, TemplateError> {
        match &self.running {
            None => once(&self.environment, run, output_max),
            Some(running) => self.watched(running, run, output_max),
        }
    }

    /// Runs on a thread of its own, which is left alone when it does not end in time: its work is bounded, and whoever
    /// waits has waited enough. While it goes on the template is not run again.
    fn watched(
        &self,
        running: &Arc<AtomicBool>,
        run: &Arc<Run>,
        output_max: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TemplateError> {
        if running.swap(true, Ordering::AcqRel) {
            return Err(TemplateError::new(Mistake::Time));
        }
        let ends = Ends(Arc::clone(running));
        let (outcome, ended) = std::sync::mpsc::channel();
        let (environment, run) = (Arc::clone(&self.environment), Arc::clone(run));
        let thread = std::thread::Builder::new().name("template".to_owned()).spawn(move || {
            let made = once(&environment, &run, output_max);
            drop(ends);
            // Whoever asked may have gone.
            let _sent = outcome.send(made);
        });
        thread.map_err(|_| TemplateError::new(Mistake::Other))?;
        ended.recv_timeout(TIME + GRACE).unwrap_or_else(|error| {
            Err(TemplateError::new(match error {
                RecvTimeoutError::Timeout => Mistake::Time,
                RecvTimeoutError::Disconnected => Mistake::Other,
            }))
        })
    }
}

/// Notes the end of a run, however it ends.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn once(
    environment: &Environment<'static>,
    run: &Arc<Run>,
    output_max: usize,
) -> Result<Zeroizing<Vec<u8>>, TemplateError> {
    let mut out = Limited::new(output_max, run);
    let made = environment
        .get_template(NAME)
        .and_then(|template| template.render_captured_to(run.context(), &mut out).map(drop));
    match made {
        Ok(()) => Ok(out.into_bytes()),
        Err(error) => Err(TemplateError { line: error.line(), mistake: mistake(&error, run) }),
    }
}

/// An environment with everything that there is in one, and the one template.
fn environment(source: &str, fuel: u64) -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // A file ends as its template does.
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(|_| TemplateError::new(Mistake::Other))?);
    environment.set_fuel(Some(fuel));
    functions::add(&mut environment);
    let added = environment.add_template_owned(NAME, source.to_owned());
    added.map_err(|error| TemplateError { line: error.line(), mistake: Mistake::Syntax })?;
    let template = environment.get_template(NAME).map_err(|_| TemplateError::new(Mistake::Other))?;
    // Every name that is not set in the template is looked for among the functions, and there are no others.
    let known = |name: &String| functions::NAMES.contains(&name.as_str());
    if !template.undeclared_variables(false).iter().all(known) {
        return Err(TemplateError { line: lint::line_of_unknown(source), mistake: Mistake::Unknown });
    }
    Ok(environment)
}

/// Our word for it. What a function of ours refused, it has noted itself.
fn mistake(error: &minijinja::Error, run: &Run) -> Mistake {
    if let Some(noted) = run.refusal() {
        return noted;
    }
    match error.kind() {
        ErrorKind::SyntaxError | ErrorKind::BadEscape => Mistake::Syntax,
        ErrorKind::UnknownFunction | ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownMethod => {
            Mistake::Unknown
        }
        ErrorKind::UndefinedError => Mistake::Undefined,
        ErrorKind::TooManyArguments | ErrorKind::MissingArgument => Mistake::Arguments,
        ErrorKind::InvalidOperation | ErrorKind::NonPrimitive | ErrorKind::NonKey | ErrorKind::CannotUnpack => {
            Mistake::Operation
        }
        ErrorKind::OutOfFuel => Mistake::Work,
        _ => Mistake::Other,
    }
}
