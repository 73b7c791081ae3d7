//! What a file is made of, read and ready: a template, a document with placeholders, or one secret as it is.

use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use zeroize::Zeroizing;

use super::format::{Format, Plan, PlanError, SourceError, Unfit};
use super::template::{Mistake, Rendered, Template, TemplateError};
use super::values::Values;
use crate::document::WriteError;
use crate::id::SecretId;

/// Bytes of one file.
pub(super) const FILE_BYTES_MAX: usize = 8 << 20;

/// Different secrets of one file.
const IDS_MAX: usize = 1000;

/// What a file is made of.
pub enum Content {
    /// A template.
    Template(Box<Template>),
    /// A document.
    Document(Format, Box<Plan>),
    /// One secret, byte for byte.
    Secret([SecretId; 1]),
}

/// Names nothing of what it holds.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Template(_) => "Template",
            Self::Document(..) => "Document",
            Self::Secret(_) => "Secret",
        })
    }
}

/// Why it cannot be used, or why no file was made of it. Holds nothing of it and nothing of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The document.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A value that the format cannot hold.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Too long, or not faithful.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<PlanError> for ContentError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Unfit(unfit) => Self::Unfit(unfit),
            PlanError::Write(write) => Self::Write(write),
        }
    }
}

impl ContentError {
    /// The kind, as `/status` names it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Template(TemplateError { mistake: Mistake::Unfit(_), .. }) | Self::Unfit(_) => "format",
            Self::Template(TemplateError { mistake: Mistake::Output, .. }) | Self::Write(_) => "too_large",
            Self::Template(_) => "template",
            Self::Source(_) => "source",
        }
    }
}

/// What came of one try.
pub enum Made {
    /// The file.
    File(Zeroizing<Vec<u8>>),
    /// These are needed and not known.
    Missing(Vec<SecretId>),
}

impl Content {
    /// A template, run once with dummies.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn template(text: &str) -> Result<Self, ContentError> {
        Ok(Self::Template(Box::new(Template::read(text, FILE_BYTES_MAX)?)))
    }

    /// A template that is only judged (see [`Template::glance`]).
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn glance_at_template(text: &str) -> Result<Self, ContentError> {
        Ok(Self::Template(Box::new(Template::glance(text, FILE_BYTES_MAX)?)))
    }

    /// A document.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn document(format: Format, text: &str) -> Result<Self, ContentError> {
        let plan = Plan::read(format, text, IDS_MAX)?;
        let dummies = vec!["dummy"; plan.ids().len()];
        plan.write(&dummies, FILE_BYTES_MAX)?;
        Ok(Self::Document(format, Box::new(plan)))
    }

    /// The secrets that are known to be needed; a template may ask for others on its way.
    #[must_use]
    pub fn ids(&self) -> &[SecretId] {
        match self {
            Self::Template(template) => template.ids(),
            Self::Document(_, plan) => plan.ids(),
            Self::Secret(id) => id,
        }
    }

    /// Makes the file. May take a while, so not on a thread that serves.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn make(&self, values: &Arc<Values>) -> Result<Made, ContentError> {
        if let Self::Template(template) = self {
            let values = Arc::clone(values);
            let lookup = Arc::new(move |id: &SecretId| values.get(id.location()).map(Value::from));
            return Ok(match template.render(lookup, FILE_BYTES_MAX)? {
                Rendered::Text(text) => Made::File(text),
                Rendered::Missing(ids) => Made::Missing(ids),
            });
        }
        let missing: Vec<_> = self.ids().iter().filter(|id| values.get(id.location()).is_none()).cloned().collect();
        if !missing.is_empty() {
            return Ok(Made::Missing(missing));
        }
        let texts: Vec<&str> = self.ids().iter().filter_map(|id| values.get(id.location())).collect();
        Ok(Made::File(match self {
            Self::Document(_, plan) => plan.write(&texts, FILE_BYTES_MAX)?,
            Self::Template(_) | Self::Secret(_) => Zeroizing::new(texts.concat().into_bytes()),
        }))
    }
}
