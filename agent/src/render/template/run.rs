//! One run of a template: the values that it knows, what it asked for, and how much it may write.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexSet;
use minijinja::value::{Enumerator, Object};
use minijinja::{Error, ErrorKind, State, Value};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{IDS_MAX, Mistake, TIME};
use crate::id::SecretId;

/// Gives the value of a secret, where it is known.
pub type Lookup = Arc<dyn Fn(&SecretId) -> Option<Value> + Send + Sync>;

/// The name of the run in its own context: no template can say it.
const KEY: &str = " run";

/// Stands in for a value that is not known.
const DUMMY: &str = "dummy";

pub(super) struct Run {
    lookup: Option<Lookup>,
    began: Instant,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    asked: IndexSet<SecretId>,
    missing: IndexSet<SecretId>,
    refusal: Option<Mistake>,
}

/// The run as what a template runs in: it has one member, which a template can neither name nor look into.
struct Holder(Arc<Run>);

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("run")
    }
}

impl Object for Holder {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some(KEY)).then(|| Value::from_dyn_object(Arc::clone(self)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// The run that `state` belongs to.
pub(super) fn of(state: &State<'_, '_>) -> Option<Arc<Run>> {
    let value = state.lookup(KEY)?;
    value.downcast_object_ref::<Holder>().map(|holder| Arc::clone(&holder.0))
}

impl Run {
    pub(super) fn dummies() -> Arc<Self> {
        Arc::new(Self { lookup: None, began: Instant::now(), noted: Mutex::default() })
    }

    pub(super) fn with(lookup: Lookup) -> Arc<Self> {
        Arc::new(Self { lookup: Some(lookup), began: Instant::now(), noted: Mutex::default() })
    }

    /// What the template runs in.
    pub(super) fn context(self: &Arc<Self>) -> Value {
        Value::from_object(Holder(Arc::clone(self)))
    }

    /// The value of a secret, or a dummy that is thrown away with everything that is made of it.
    pub(super) fn secret(&self, text: &str) -> Result<Value, Error> {
        self.check_time().map_err(|mistake| self.refuse(mistake))?;
        let Ok(id) = SecretId::parse_reference(text) else { return Err(self.refuse(Mistake::Id)) };
        let known = self.lookup.as_ref().and_then(|lookup| lookup(&id));
        let too_many = {
            let mut noted = self.noted();
            if known.is_none() {
                noted.missing.insert(id.clone());
            }
            noted.asked.insert(id);
            noted.asked.len() > IDS_MAX
        };
        if too_many {
            return Err(self.refuse(Mistake::TooManyIds));
        }
        Ok(known.unwrap_or_else(|| Value::from(DUMMY)))
    }

    /// Whether something in it may be a dummy.
    pub(super) fn is_of_dummies(&self) -> bool {
        self.lookup.is_none() || !self.noted().missing.is_empty()
    }

    /// Notes why the run ends, in our own words; the error that carries it out of the library has none.
    pub(super) fn refuse(&self, mistake: Mistake) -> Error {
        self.noted().refusal.get_or_insert(mistake);
        Error::from(ErrorKind::InvalidOperation)
    }

    pub(super) fn refusal(&self) -> Option<Mistake> {
        self.noted().refusal
    }

    pub(super) fn asked(&self) -> Vec<SecretId> {
        self.noted().asked.iter().cloned().collect()
    }

    pub(super) fn missing(&self) -> Vec<SecretId> {
        self.noted().missing.iter().cloned().collect()
    }

    fn check_time(&self) -> Result<(), Mistake> {
        if self.began.elapsed() > TIME { Err(Mistake::Time) } else { Ok(()) }
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        // Sets and a word, each changed as a whole.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what a template writes, up to a limit, and wipes it.
pub(super) struct Limited<'a> {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    run: &'a Run,
}

impl<'a> Limited<'a> {
    pub(super) fn new(limit: usize, run: &'a Run) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(4096.min(limit))), limit, run }
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}

impl io::Write for Limited<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let refused = if self.bytes.len() + more.len() > self.limit {
            Some(Mistake::Output)
        } else {
            self.run.check_time().err()
        };
        if let Some(mistake) = refused {
            drop(self.run.refuse(mistake));
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // A vector that grows by itself frees its old allocation unwiped.
        if self.bytes.capacity() - self.bytes.len() < more.len() {
            let mut larger = Vec::with_capacity((self.bytes.len() + more.len()) * 2);
            larger.extend_from_slice(&self.bytes);
            self.bytes = Zeroizing::new(larger);
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
