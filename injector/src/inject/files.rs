//! The files that a pod adds to its profile's: a list in an annotation, judged by the agent's own reader.

use cloakroom_agent::config::check_added_files;
use serde_json::Value;

use super::Denial;
use super::key::Key;
use super::volumes::TEMPLATES_DIRECTORY;
use crate::profile::Profile;

/// Bytes of the annotation. Together with the configuration it has to fit into one variable of an environment.
pub(super) const LONGEST: usize = 32 * 1024;

/// Files of one pod.
const MOST: usize = 64;

/// Problems that one refusal tells.
const TOLD: usize = 3;

/// What else of the pod the files need.
#[derive(Clone, Copy)]
pub(super) struct Surroundings {
    /// Whether there is a volume with templates.
    pub(super) has_templates: bool,
    /// Whether the agent sees the processes of the other containers.
    pub(super) sees_processes: bool,
}

pub(super) fn read(text: &str, profile: &Profile, around: Surroundings) -> Result<Vec<Value>, Denial> {
    let must =
        Denial::Value { key: Key::Files, must: "a YAML list of at most 64 files, each with name and destination" };
    let files: Vec<Value> = serde_saphyr::from_str(text).map_err(|_| must.clone())?;
    if files.is_empty() || files.len() > MOST {
        return Err(must);
    }
    let name = Key::Files.name();
    let mut lines = check_added_files(name, &files, profile.files());
    for (index, file) in files.iter().enumerate() {
        for key in ["templateFile", "sourceFile"] {
            let Some(path) = file.get(key).and_then(Value::as_str) else { continue };
            if !path.strip_prefix(TEMPLATES_DIRECTORY).is_some_and(|rest| rest.starts_with('/')) {
                lines.push(format!("{name}[{index}].{key}: must be below {TEMPLATES_DIRECTORY}"));
            } else if !around.has_templates {
                lines.push(format!("{name}[{index}].{key}: needs {}, the name of a volume", Key::Templates.name()));
            }
        }
        // A process of another container is out of sight, and with its number another one would be meant.
        if file.pointer("/onChange/signal").is_some() && !around.sees_processes {
            lines.push(format!(
                "{name}[{index}].onChange.signal: needs spec.shareProcessNamespace and {}: acknowledged",
                Key::ShareProcessNamespace.name()
            ));
        }
    }
    if lines.is_empty() {
        return Ok(files);
    }
    let more = lines.len().saturating_sub(TOLD);
    lines.truncate(TOLD);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Err(Denial::Files(lines.join("; ")))
}
