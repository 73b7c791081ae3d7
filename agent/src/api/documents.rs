//! Handlers of `/resolve` and `/obfuscate`: whole documents, in and out.
//!
//! To read and to write a document takes as long as it is long. A large one is worked on beside the thread that serves
//! everybody, and only a few at one time.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::media::{self, DocumentType};
use super::request::PATHS_MAX;
use super::{Api, ApiError, ApiResult, Call, body};
use crate::document::{DocumentError, Format, HiddenPath, KeyTemplate, Obfuscation, Placeholders, Pointer, WriteError};
use crate::id::{Location, Scope, SecretId, Slot};
use crate::server::{BodyBytes, InFlight, RequestBody, Reservation};

/// Large documents that are worked on at one time: fewer than there are threads for it, which others need as well.
pub(super) const TURNS: usize = 2;

/// Up to this size nobody waits noticeably.
const SMALL: usize = 16 * 1024;

/// Longer than any checksum: what is put in the place of a string is at most that of the real placeholder.
const LONGEST_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A document as it came.
enum Source {
    /// In a body, which it may be all of.
    Body(BodyBytes, Range<usize>),
    /// Decoded out of one.
    Text { text: Zeroizing<String>, _reservation: Reservation },
}

impl Source {
    fn text(&self) -> Result<&str, DocumentError> {
        match self {
            Self::Body(bytes, range) => {
                let part = bytes.get(range.clone()).unwrap_or_default();
                std::str::from_utf8(part).map_err(|_| DocumentError::NotText)
            }
            Self::Text { text, .. } => Ok(text),
        }
    }
}

/// What a request asks to obfuscate.
struct Wish {
    slot: Location,
    paths: Vec<HiddenPath>,
    media: DocumentType,
    document: Source,
}

impl Call<'_> {
    pub(super) async fn resolve(self, body: RequestBody) -> ApiResult {
        let media = DocumentType::of(&self.parts.headers)?;
        media::check_accept(&self.parts.headers, media.name)?;
        let paths = self.paths()?;
        let api = self.api;
        let body = body.read().await?;
        let length = body.len();
        let source = Arc::new(Source::Body(body, 0..length));
        let (format, ids_max, room) = (media.format, api.limits.batch_ids, api.room());
        let (found, planned) = {
            let (source, room) = (Arc::clone(&source), room.clone());
            api.worked(length, move || {
                let found = Placeholders::find(format, source.text()?, paths, ids_max)?;
                let planned = room.reserve(found.kept_bytes())?;
                Ok::<_, ApiError>((found, planned))
            })
            .await??
        };
        let ids: Vec<SecretId> = found.ids().cloned().collect();
        let all = api.operations.resolve(self.context, ids).await?;
        // What comes out may be much larger than what went in.
        let longest = all.iter().map(|served| served.entry.value().len()).max().unwrap_or_default();
        let at_most = length.saturating_add(longest.saturating_mul(found.places()));
        let values = all.clone();
        let write = move || {
            let _planned = planned;
            let values: Vec<&str> = values.iter().map(|served| served.entry.value().expose()).collect();
            let source = source.text()?;
            let size = found.size(source, &values, room.limit)?;
            written(room.reserve(size)?, size, |out| found.write(source, &values, out))
        };
        let answer = api.worked(at_most, write).await??;
        Ok(Api::resolved(media.name, answer, &all))
    }

    pub(super) async fn obfuscate(self, body: RequestBody) -> ApiResult {
        self.no_query()?;
        media::check_content(&self.parts.headers)?;
        let api = self.api;
        let body = body.read().await?;
        let length = body.len();
        let room = api.room();
        let wish = {
            let room = room.clone();
            api.worked(length, move || wish(body, &room)).await??
        };
        media::check_accept(&self.parts.headers, wish.media.name)?;
        let Wish { slot, paths, media, document } = wish;
        let operations = &api.operations;
        let permit = operations.permit_entries(self.context, slot.clone()).await;
        let permit = permit.map_err(|error| ApiError::from(error).naming(slot.slot()))?;

        let source = Arc::new(document);
        let (format, strings_max) = (media.format, api.limits.batch_ids);
        let (mut plan, reservation) = {
            let (source, slot) = (Arc::clone(&source), slot.clone());
            api.worked(length, move || {
                let source = source.text()?;
                let plan = Obfuscation::plan(format, source, &paths, &slot, strings_max)?;
                let reservation = rehearse(&plan, source, &slot, &room)?;
                Ok::<_, ApiError>((plan, reservation))
            })
            .await??
        };
        for string in plan.strings() {
            operations.check_entry(&string.value).map_err(|error| ApiError::from(error).at(string.path))?;
        }
        let entries = plan.take_strings().into_iter().map(|string| (string.key, string.value)).collect();
        let ids = operations.obfuscate(self.context, permit, entries).await?;
        let write = move || {
            let placeholders: Vec<String> = ids.iter().map(|id| format!("$<{id}>")).collect();
            let placeholders: Vec<&str> = placeholders.iter().map(String::as_str).collect();
            let source = source.text()?;
            let size = plan.size(source, &placeholders, usize::MAX)?;
            written(reservation, size, |out| plan.write(source, &placeholders, out))
        };
        let answer = api.worked(length, write).await??;
        Ok(Api::resolved(media.name, answer, &[]))
    }
}

/// Reads what is asked for, and takes the document out.
fn wish(body: BodyBytes, room: &Room) -> Result<Wish, ApiError> {
    let parsed: body::ObfuscateBody<'_> = body::parse(&body)?;
    let scope = Scope::parse(&parsed.scope).map_err(ApiError::invalid_id)?;
    let slot = Slot::parse(&parsed.slot).map_err(ApiError::invalid_id)?;
    if parsed.paths.len() > PATHS_MAX {
        return Err(ApiError::too_many_paths());
    }
    let paths = parsed.paths.iter().enumerate().map(|(position, body::Object(path))| {
        let pointer = Pointer::parse(&path.pointer).map_err(|error| ApiError::invalid_path(error).at(position))?;
        let key = path.key.as_deref().map(KeyTemplate::parse).transpose();
        Ok(HiddenPath { pointer, key: key.map_err(|error| ApiError::invalid_path(error).at(position))? })
    });
    let paths = paths.collect::<Result<_, ApiError>>()?;
    let media = DocumentType::parse(parsed.content_type.as_deref().unwrap_or(media::JSON))?;
    let slot = Location::of(&scope, &slot, None);
    let raw = parsed.document.get();
    let document = match media.format {
        Format::Json => {
            let start = raw.as_ptr().addr().saturating_sub(body.as_ptr().addr());
            let range = start..start + raw.len();
            Source::Body(body, range)
        }
        Format::Yaml => {
            let reservation = room.reserve(raw.len())?;
            let text: String = serde_json::from_str(raw).map_err(|_| ApiError::document_no_text())?;
            Source::Text { text: Zeroizing::new(text), _reservation: reservation }
        }
        Format::Text => return Err(ApiError::unsupported_document()),
    };
    Ok(Wish { slot, paths, media, document })
}

/// Writes the document with placeholders as long as any can be, before anything is stored: what cannot be answered must
/// not have been done.
fn rehearse(plan: &Obfuscation, source: &str, slot: &Location, room: &Room) -> Result<Reservation, ApiError> {
    let places = plan.strings().iter().map(|string| format!("$<{}:{LONGEST_CHECKSUM}>", slot.entry(&string.key)));
    let places: Vec<String> = places.collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let size = plan.size(source, &places, room.limit)?;
    let reservation = room.reserve(size)?;
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    plan.write(source, &places, &mut out)?;
    Ok(reservation)
}

/// A document of `size` bytes as the body of an answer.
fn written(
    reservation: Reservation,
    size: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), WriteError>,
) -> Result<Bytes, ApiError> {
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    write(&mut out)?;
    Ok(crate::server::answer(out, Some(reservation)))
}

/// Room for what a document takes, wherever it is worked on.
#[derive(Clone)]
struct Room {
    limit: usize,
    in_flight: InFlight,
}

impl Room {
    fn reserve(&self, size: usize) -> Result<Reservation, ApiError> {
        self.in_flight.reserve(size).map_err(|_| ApiError::over_capacity())
    }
}

impl Api {
    fn room(&self) -> Room {
        let limit = self.limits.document_bytes.min(self.limits.answer_bytes);
        Room { limit, in_flight: self.in_flight.clone() }
    }

    /// Does `work` on a document of `bytes`: here, or beside where that would take long.
    async fn worked<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if bytes <= SMALL {
            return Ok(work());
        }
        let turn = tokio::time::timeout(self.limits.turn, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(ApiError::over_capacity)?;
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        worked.await.map_err(|_panicked| ApiError::internal())
    }
}
