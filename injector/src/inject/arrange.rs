//! The edits that bring a pod to its injected shape, whatever was done to it before.

use serde_json::Value;

use super::denial::Plain;
use super::draft::{Draft, Edit};
use super::key::Key;
use super::pod::{Pod, name};
use super::volumes::{BIN, BIN_DIRECTORY, FILES, FILES_DIRECTORY, SOCKET, SOCKET_DIRECTORY};
use super::wish::Wish;
use super::{Denial, mounts, settled, sidecar, volumes, wrap};
use crate::profile::Settings;

const CONTAINERS: &str = "/spec/containers";
const INIT_CONTAINERS: &str = "/spec/initContainers";

pub(super) fn arrange(pod: &Value, view: &Pod<'_>, wish: &Wish<'_>, settings: &Settings) -> Result<Vec<Edit>, Denial> {
    let place = place(view, wish)?;
    check(view, wish, place)?;
    let mut draft = Draft::new(pod);
    remove_reserved(&mut draft, CONTAINERS);
    let wanted = sidecar::containers(wish, settings)?;
    let own = place..place + wanted.len();
    put_ours(&mut draft, place, wanted);
    for index in 0..draft.list(CONTAINERS).len() {
        serve(&mut draft, CONTAINERS, index, wish, true)?;
    }
    for index in (0..draft.list(INIT_CONTAINERS).len()).filter(|index| !own.contains(index)) {
        serve(&mut draft, INIT_CONTAINERS, index, wish, index > place)?;
    }
    volumes::arrange(&mut draft, wish);
    // Never `fsGroup`: it would change the owner of the pod's other volumes.
    if !draft.list("/spec/securityContext/supplementalGroups").iter().any(|gid| *gid == settings.group) {
        draft.append("/spec/securityContext", "supplementalGroups", settings.group.into());
    }
    if view.annotation(Key::Status.name()) != Some("injected") {
        draft.set("/metadata/annotations", Key::Status.name(), "injected".into());
    }
    Ok(draft.finish())
}

/// The agent's index among the init containers: the first, or right behind the one that has to start before it.
fn place(view: &Pod<'_>, wish: &Wish<'_>) -> Result<usize, Denial> {
    let Some(after) = wish.after else { return Ok(0) };
    let own = |container: &&Value| !sidecar::is_reserved(name(container));
    if view.containers.iter().filter(own).any(|container| name(container) == after) {
        return Err(Denial::AfterApplication);
    }
    // One that is not there may still come: its webhook can be a later one, and then ours is invoked again.
    Ok(view.init_containers.iter().filter(own).position(|container| name(container) == after).map_or(0, |at| at + 1))
}

fn check(view: &Pod<'_>, wish: &Wish<'_>, place: usize) -> Result<(), Denial> {
    let own = |container: &&Value| !sidecar::is_reserved(name(container));
    let applications: Vec<&Value> = view.containers.iter().filter(own).collect();
    let init: Vec<&Value> = view.init_containers.iter().filter(own).collect();
    if applications.is_empty() {
        return Err(Denial::OnlyReserved);
    }
    let has = |all: &[&Value], wanted: &str| all.iter().any(|container| name(container) == wanted);
    let (before, after) = init.split_at_checked(place).unwrap_or((&init, &[]));
    for (key, wanted) in wish.lists() {
        if has(before, wanted) {
            return Err(Denial::BeforeAgent(key));
        }
        if !has(after, wanted) && !has(&applications, wanted) {
            return Err(Denial::NoSuchContainer(key));
        }
        if !wish.serves(wanted) {
            return Err(Denial::NotServed);
        }
    }
    let Some(port) = wish.profile.metrics_port.filter(|_| !wish.has_host_network) else { return Ok(()) };
    let ports = |container: &Value| container.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let taken =
        |container: &&&Value| ports(container).iter().any(|entry| entry.get("containerPort") == Some(&port.into()));
    match applications.iter().chain(&init).find(taken) {
        Some(container) => Err(Denial::MetricsPort(Plain::container(name(container)))),
        None => Ok(()),
    }
}

fn serve(draft: &mut Draft, list: &str, index: usize, wish: &Wish<'_>, is_later: bool) -> Result<(), Denial> {
    let path = format!("{list}/{index}");
    let Some(container) = draft.list(list).get(index).filter(|_| is_later) else {
        return mounts::arrange(draft, &path, &[]);
    };
    let (is_served, is_wrapped) = (wish.serves(name(container)), wish.wraps(name(container)));
    let mut places = Vec::new();
    if is_served && wish.mode.stays() {
        places.push((SOCKET, SOCKET_DIRECTORY));
    }
    if is_served && wish.has_files() {
        places.push((FILES, FILES_DIRECTORY));
    }
    if is_wrapped {
        places.push((BIN, BIN_DIRECTORY));
    }
    mounts::arrange(draft, &path, &places)?;
    if is_wrapped { wrap::arrange(draft, &path) } else { Ok(()) }
}

fn remove_reserved(draft: &mut Draft, list: &str) {
    for index in (0..draft.list(list).len()).rev() {
        if draft.list(list).get(index).is_some_and(|container| sidecar::is_reserved(name(container))) {
            draft.remove(list, index);
        }
    }
}

/// Puts our containers at `place`, counted without reserved names, and takes away whatever else has such a name.
fn put_ours(draft: &mut Draft, place: usize, wanted: Vec<Value>) {
    let present = draft.list(INIT_CONTAINERS);
    let wanted: Vec<Value> = wanted
        .into_iter()
        .map(|wanted| match present.iter().find(|container| name(container) == name(&wanted)) {
            Some(present) => settled::carried(wanted, present),
            None => wanted,
        })
        .collect();
    let reserved = present.iter().filter(|container| sidecar::is_reserved(name(container))).count();
    let there = present.iter().skip(place).take(wanted.len());
    if reserved == wanted.len() && there.map(name).eq(wanted.iter().map(name)) {
        for (index, wanted) in (place..).zip(wanted) {
            if !draft.list(INIT_CONTAINERS).get(index).is_some_and(|there| settled::is_settled(there, &wanted)) {
                draft.replace(INIT_CONTAINERS, index, wanted);
            }
        }
        return;
    }
    remove_reserved(draft, INIT_CONTAINERS);
    for (index, wanted) in (place..).zip(wanted) {
        draft.insert("/spec", "initContainers", index, wanted);
    }
}
