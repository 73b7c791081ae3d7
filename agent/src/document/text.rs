//! The reader of plain text: there is nothing to it but its placeholders.

use super::DocumentError;
use super::placeholders::Ids;
use super::splice::{Place, Span, Splice};
use crate::id::scan;

/// An edit for each placeholder of `source`.
pub(super) fn read(source: &str, ids: &mut Ids, splice: &mut Splice) -> Result<(), DocumentError> {
    for (found, leaf) in scan(source).zip(0..) {
        let number = ids.number(found.id)?;
        let mut content = splice.content();
        content.value(number);
        content.end(Place::Text(Span::new(found.range.start, found.range.end)), leaf);
    }
    Ok(())
}
