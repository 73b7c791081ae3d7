//! A set in a directory: swapped as one, never followed out of, and nothing of a failure left.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

fn destinations(names: &[&str]) -> Vec<Destination> {
    names.iter().map(|name| Destination::parse(name).unwrap()).collect()
}

fn write(set: &mut Set, files: &[(&str, Option<&str>)]) -> Result<(), PlaceError> {
    let destinations = destinations(&files.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let written: Vec<_> = destinations
        .iter()
        .zip(files)
        .map(|(destination, (_, content))| Written { destination, mode: 0o440, content: content.map(str::as_bytes) })
        .collect();
    set.write(&written)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("files");
    (directory, path)
}

#[test]
fn t1_no_destination_leads_out_of_its_set() {
    let long = "a".repeat(5000);
    for wrong in [
        "../x", "/etc/x", "a/..data", "..data", "a/../b", "a\0b", "", "a//b", "a/", ".", "a/./b", "..x/y", "a\nb",
        &long,
    ] {
        assert!(Destination::parse(wrong).is_err(), "{wrong:?}");
    }
    for fine in ["a", "a/b.c", ".env", "a..b", "ä"] {
        assert!(Destination::parse(fine).is_ok(), "{fine}");
    }
    let [a, ab, b] = &destinations(&["a", "a/b", "ab"])[..] else { panic!() };
    assert!(a.collides(a) && a.collides(ab) && ab.collides(a) && !a.collides(b));
}

#[test]
fn files_are_links_into_what_is_swapped() {
    let (_kept, path) = place();
    let mut set = Set::open(&path, None, false).unwrap();
    write(&mut set, &[("a", Some("1")), ("d/e/f", Some("2"))]).unwrap();
    assert_eq!(fs::read_link(path.join("a")).unwrap(), PathBuf::from("..data/a"));
    assert_eq!(fs::read_link(path.join("d")).unwrap(), PathBuf::from("..data/d"));
    assert_eq!(fs::read_to_string(path.join("d/e/f")).unwrap(), "2");
    assert_eq!(fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o7777, 0o440);
    assert_eq!(fs::metadata(path.join("d/e")).unwrap().permissions().mode() & 0o7777, 0o750);
    let before = fs::read_link(path.join("..data")).unwrap();
    write(&mut set, &[("a", Some("3")), ("d/e/f", None)]).unwrap();
    assert_ne!(fs::read_link(path.join("..data")).unwrap(), before);
    assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "3");
    assert_eq!(fs::read_to_string(path.join(&before).join("a")).unwrap(), "1", "readers of the old one finish");
    let [old, new] =
        [path.join(before).join("d/e/f"), path.join("d/e/f")].map(|file| fs::metadata(file).unwrap().ino());
    assert_eq!(old, new, "what has not changed is not written again");
}

#[test]
fn a_file_that_somebody_opened_up_is_written_again_as_it_should_be() {
    let (_kept, path) = place();
    let mut set = Set::open(&path, None, false).unwrap();
    write(&mut set, &[("a", Some("1")), ("b", Some("1"))]).unwrap();
    fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o666)).unwrap();
    write(&mut set, &[("a", None), ("b", Some("2"))]).unwrap();
    assert_eq!(fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o7777, 0o440);
    assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "1");
}

#[test]
fn a_file_in_the_way_is_replaced_and_a_directory_is_not() {
    let (_kept, path) = place();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a"), "old").unwrap();
    fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o666)).unwrap();
    symlink("/etc", path.join("e")).unwrap();
    let mut set = Set::open(&path, None, false).unwrap();
    write(&mut set, &[("a", Some("1")), ("e/passwd", Some("1"))]).unwrap();
    assert_eq!(fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o7777, 0o440);
    assert_eq!(fs::read_to_string(path.join("e/passwd")).unwrap(), "1");
    fs::create_dir(path.join("d")).unwrap();
    let before = names(&path);
    assert_eq!(write(&mut set, &[("a", Some("2")), ("d", Some("2"))]), Err(PlaceError::Occupied));
    assert_eq!(names(&path), before);
    assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "1");
}

#[test]
fn a_write_that_fails_leaves_no_name_behind() {
    let (_kept, path) = place();
    let mut set = Set::open(&path, None, false).unwrap();
    fs::create_dir(path.join("b")).unwrap();
    assert!(write(&mut set, &[("a", Some("1")), ("b", Some("1"))]).is_err());
    assert_eq!(names(&path), ["b"]);
}

#[test]
fn no_link_within_a_generation_is_followed() {
    let (kept, path) = place();
    let victim = kept.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let mut set = Set::open(&path, None, false).unwrap();
    write(&mut set, &[("a", Some("1")), ("d/b", Some("1"))]).unwrap();
    let data = path.join(fs::read_link(path.join("..data")).unwrap());
    for (name, target) in [("a", &victim), ("d", &kept.path().to_owned())] {
        if name == "d" { fs::remove_dir_all(data.join(name)) } else { fs::remove_file(data.join(name)) }.unwrap();
        symlink(target, data.join(name)).unwrap();
    }
    assert!(set.read(&Destination::parse("a").unwrap(), 100).is_none());
    // Not even one that stays within.
    fs::create_dir(data.join("e")).unwrap();
    fs::write(data.join("e/c"), "1").unwrap();
    symlink("e", data.join("f")).unwrap();
    assert!(set.read(&Destination::parse("f/c").unwrap(), 100).is_none());
    // Neither taken along nor written to.
    assert!(write(&mut set, &[("a", None), ("d/b", Some("2"))]).is_err());
    write(&mut set, &[("a", Some("2")), ("d/b", Some("2"))]).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
}

#[test]
fn what_a_crash_left_is_taken_away_at_start() {
    let (_kept, path) = place();
    let mut set = Set::open(&path, None, false).unwrap();
    write(&mut set, &[("a", Some("1"))]).unwrap();
    write(&mut set, &[("a", Some("2"))]).unwrap();
    write(&mut set, &[("a", Some("3"))]).unwrap();
    drop(set);
    fs::create_dir_all(path.join("..g00000000000000ff/d")).unwrap();
    fs::write(path.join("..g00000000000000ff/d/x"), "half").unwrap();
    symlink("..g00000000000000ff", path.join("..data_next")).unwrap();
    symlink("..data/b", path.join("..link_next0")).unwrap();
    symlink("..data/gone", path.join("gone")).unwrap();
    let set = Set::open(&path, None, false).unwrap();
    set.tidy(&[&Destination::parse("a").unwrap()]).unwrap();
    let (current, previous) = ("..g0000000000000003", "..g0000000000000002");
    assert_eq!(names(&path), ["..data", previous, current, "a"]);
    assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_was_replaced_stays_for_ten_seconds_and_until_the_next_swap() {
    let (_kept, path) = place();
    let mut set = Set::open(&path, None, false).unwrap();
    for content in ["1", "2", "3"] {
        write(&mut set, &[("a", Some(content))]).unwrap();
    }
    let generations = |path: &Path| names(path).into_iter().filter(|name| name.starts_with("..g")).count();
    assert_eq!(generations(&path), 3);
    tokio::time::advance(KEPT / 2).await;
    set.sweep();
    assert_eq!(generations(&path), 3);
    tokio::time::advance(KEPT / 2).await;
    set.sweep();
    assert_eq!(generations(&path), 2, "the one before the current one stays until the next swap");
    write(&mut set, &[("a", Some("4"))]).unwrap();
    assert_eq!(generations(&path), 2, "it has been there for ten seconds");
}

#[test]
fn a_foreign_data_link_is_replaced_and_not_followed() {
    let (kept, path) = place();
    fs::create_dir(&path).unwrap();
    let victim = kept.path().join("victim");
    fs::create_dir(&victim).unwrap();
    symlink(&victim, path.join("..data")).unwrap();
    let mut set = Set::open(&path, None, false).unwrap();
    write(&mut set, &[("a", Some("1"))]).unwrap();
    assert_eq!(names(&victim), Vec::<String>::new());
    assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "1");
}

#[test]
fn a_link_is_no_directory_of_a_set() {
    let (kept, path) = place();
    symlink(kept.path(), &path).unwrap();
    assert!(matches!(Set::open(&path, None, false), Err(PlaceError::Directory(_))));
}

#[test]
fn memory_can_be_demanded() {
    let memory = TempDir::new_in("/dev/shm").unwrap();
    let set = Set::open(&memory.path().join("files"), None, true).unwrap();
    assert!(!set.is_on_disk());
    assert!(matches!(Set::open(Path::new("/proc"), None, true), Err(PlaceError::NotInMemory)));
}
