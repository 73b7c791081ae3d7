//! What must hold of templates and of source documents, whatever stands in them.

use std::sync::Arc;

use cloakroom_agent::render::format::{Format, Plan};
use cloakroom_agent::render::template::{Lookup, Rendered, Template};

/// Longer than any word of ours, and in no input but by design.
const VALUE: &str = "hunter2\n\"'\\$`#<&;hunter2";

/// A template is read, run with dummies and run with a value; it ends, stays within its limit, and tells nothing.
pub(crate) fn template(data: &[u8]) {
    const LIMIT: usize = 64 << 10;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = Template::read(text, LIMIT).and_then(|template| {
        let lookup: Lookup = Arc::new(|_| Some(VALUE.into()));
        template.render(lookup, LIMIT)
    });
    match found {
        Ok(Rendered::Text(text)) => assert!(text.len() <= LIMIT),
        Ok(Rendered::Missing(_)) => panic!("every secret is known"),
        Err(error) => {
            let said = format!("{error} {error:?}");
            assert!(!said.contains("hunter2"), "{said}");
            super::says_nothing_of(&said, text);
        }
    }
}

/// The first byte chooses the format. What is written is no longer than allowed, and without a placeholder is the source.
pub(crate) fn source(data: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let Some((choice, data)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (_, format) = Format::NAMES[usize::from(*choice) % Format::NAMES.len()];
    let plan = match Plan::read(format, text, 100) {
        Ok(plan) => plan,
        Err(error) => return super::says_nothing_of(&error.to_string(), text),
    };
    let values = vec![VALUE; plan.ids().len()];
    match plan.write(&values, LIMIT) {
        Ok(written) => {
            assert!(written.len() <= LIMIT);
            if values.is_empty() {
                assert_eq!(&*written, data, "what has no placeholder is copied");
            }
        }
        Err(error) => assert!(!error.to_string().contains("hunter2")),
    }
}
