//! What of ours the pod's own containers mount, all of it read-only: for the socket that suffices to connect.

use serde_json::{Value, json};

use super::Denial;
use super::denial::Plain;
use super::draft::Draft;
use super::pod::name;
use super::volumes::is_reserved;

/// A volume of ours and its place in a container.
pub(super) type Place = (&'static str, &'static str);

/// Gives the container at `path` the volumes, and takes any other mount of a volume of ours away: a token that a container
/// mounts by the volume's name would be the agent's identity in its hands.
pub(super) fn arrange(draft: &mut Draft, path: &str, places: &[Place]) -> Result<(), Denial> {
    let list = format!("{path}/volumeMounts");
    let mut missing = places.to_vec();
    let mut index = 0;
    while let Some(mount) = draft.list(&list).get(index) {
        if !is_reserved(name(mount)) {
            if let Some((_, place)) = places.iter().find(|(_, place)| hides(mount, place)) {
                return Err(Denial::Place(Plain::container(draft.name(path)), place));
            }
            index += 1;
            continue;
        }
        match missing.iter().position(|(volume, _)| *volume == name(mount)) {
            Some(found) => {
                let wanted = wanted(missing.remove(found));
                if *mount != wanted {
                    draft.replace(&list, index, wanted);
                }
                index += 1;
            }
            None => draft.remove(&list, index),
        }
    }
    for place in missing {
        draft.append(path, "volumeMounts", wanted(place));
    }
    Ok(())
}

fn wanted((volume, path): Place) -> Value {
    json!({"name": volume, "mountPath": path, "readOnly": true})
}

/// A mount at or below our directory; one above it is mounted before ours, and is in nobody's way.
fn hides(mount: &Value, place: &str) -> bool {
    let path = mount.get("mountPath").and_then(Value::as_str).unwrap_or_default();
    // As the runtime reads it: empty segments and `.` say nothing, and /var/run is /run in most images.
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let below = if segments.starts_with(&["var", "run"]) { segments.get(1..).unwrap_or_default() } else { &segments };
    let place: Vec<&str> = place.split('/').skip(1).collect();
    below.starts_with(&place)
}
