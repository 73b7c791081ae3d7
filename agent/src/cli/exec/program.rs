//! The command as a program to start: where it is, as a shell looks for it, and why it cannot be started.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::errno::Errno;

use super::error::{ExecError, Largest};
use super::variables::Assembled;
use crate::cli::console::printable;

/// Where a command is looked for when there is no PATH: what execvp(3) of the C libraries takes.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// What runs a file that the kernel does not know how to run (POSIX, `exec`).
const SHELL: &CStr = c"/bin/sh";

/// A command with its arguments, and the files that it can be.
pub(super) struct Program {
    shown: String,
    arguments: Vec<CString>,
    files: Vec<CString>,
}

impl Program {
    /// Looks up the command by the PATH that it will have itself.
    pub(super) fn new(command: &[OsString], environment: &Assembled) -> Result<Self, ExecError> {
        let arguments = command.iter().map(|argument| CString::new(argument.clone().into_vec()));
        let arguments = arguments.collect::<Result<Vec<_>, _>>().map_err(|_| ExecError::NulInCommand)?;
        let name = command.first().map(OsString::as_os_str).unwrap_or_default();
        let path = environment.get("PATH").map_or(DEFAULT_PATH, OsStr::as_bytes);
        Ok(Self { shown: printable(&name.to_string_lossy()), arguments, files: files(name.as_bytes(), path) })
    }

    /// Starts the first of its files that can be. `start` takes the file and the arguments.
    pub(super) fn launch<T>(&self, start: impl Fn(&CStr, &[&CStr]) -> Result<T, Errno>) -> Result<T, ExecError> {
        let arguments: Vec<&CStr> = self.arguments.iter().map(CString::as_c_str).collect();
        let mut forbidden = None;
        for file in &self.files {
            match start(file, &arguments) {
                Ok(started) => return Ok(started),
                Err(Errno::ENOEXEC) if !is_binary(file) => {
                    let script: Vec<&CStr> =
                        [SHELL, file].into_iter().chain(arguments.iter().copied().skip(1)).collect();
                    // Without a shell the first reason is the one that helps.
                    return start(SHELL, &script).map_err(|_| self.failed(Errno::ENOEXEC));
                }
                // Not here; perhaps in the next directory, whatever is wrong with this one.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT) => {}
                Err(Errno::EACCES) => forbidden = Some(Errno::EACCES),
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(forbidden.map_or_else(|| ExecError::NotFound { command: self.shown.clone() }, |error| self.failed(error)))
    }

    fn failed(&self, source: Errno) -> ExecError {
        match source {
            Errno::E2BIG => {
                let total = self.arguments.iter().map(|argument| argument.count_bytes() + 1).sum();
                ExecError::TooLarge { total, largest: Largest(None) }
            }
            source => ExecError::NotExecutable { command: self.shown.clone(), source },
        }
    }
}

/// Whether a file is no script, as shells decide it: a program for another machine is not to be read line by line.
fn is_binary(file: &CStr) -> bool {
    let mut start = [0; 256];
    let read = File::open(OsStr::from_bytes(file.to_bytes())).and_then(|mut file| file.read(&mut start));
    read.is_ok_and(|length| start.get(..length).is_some_and(|start| start.contains(&0)))
}

/// The files that a command can be. One with a `/` is a path; an empty entry of PATH is the current directory.
fn files(name: &[u8], path: &[u8]) -> Vec<CString> {
    if name.is_empty() {
        return Vec::new();
    }
    let in_directory = |directory: &[u8]| match directory {
        [] => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    };
    let candidates =
        if name.contains(&b'/') { vec![name.to_vec()] } else { path.split(|b| *b == b':').map(in_directory).collect() };
    candidates.into_iter().filter_map(|candidate| CString::new(candidate).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_for(name: &str, path: &str) -> Vec<String> {
        files(name.as_bytes(), path.as_bytes()).into_iter().map(|file| file.into_string().unwrap()).collect()
    }

    #[test]
    fn a_name_is_looked_for_in_every_directory_and_a_path_nowhere() {
        assert_eq!(looked_for("x", "/a:/b/"), ["/a/x", "/b//x"]);
        assert_eq!(looked_for("x", ":/a:"), ["x", "/a/x", "x"]);
        assert_eq!(looked_for("./x", "/a"), ["./x"]);
        assert_eq!(looked_for("/x", "/a"), ["/x"]);
        assert_eq!(looked_for("", "/a"), [""; 0]);
    }

    fn program() -> Program {
        let environment = super::super::variables::Variables::new(&[("PATH".into(), "/a:/b".into())], false);
        Program::new(&["x".into(), "y".into()], &environment.assemble(&[]).unwrap()).unwrap()
    }

    #[test]
    fn a_file_that_may_not_be_run_does_not_hide_one_that_may() {
        let start =
            |first, second| program().launch(|file, _| if file.to_bytes() == b"/a/x" { Err(first) } else { second });
        assert!(start(Errno::EACCES, Ok(())).is_ok());
        assert!(matches!(
            start(Errno::EACCES, Err(Errno::ENOENT)),
            Err(ExecError::NotExecutable { source: Errno::EACCES, .. })
        ));
        assert!(matches!(start(Errno::ENOTDIR, Err(Errno::ENOENT)), Err(ExecError::NotFound { .. })));
        assert!(matches!(start(Errno::ENOMEM, Ok(())), Err(ExecError::NotExecutable { source: Errno::ENOMEM, .. })));
        assert!(matches!(start(Errno::E2BIG, Ok(())), Err(ExecError::TooLarge { .. })));
    }

    #[test]
    fn what_the_kernel_cannot_run_is_a_script_for_the_shell() {
        let asked = std::cell::RefCell::new(Vec::new());
        let started = program().launch(|file, arguments| {
            asked.borrow_mut().push((
                file.to_owned(),
                arguments.iter().map(|text| text.to_str().unwrap().to_owned()).collect::<Vec<_>>(),
            ));
            if file == SHELL { Ok(()) } else { Err(Errno::ENOEXEC) }
        });
        assert!(started.is_ok());
        assert_eq!(
            asked.borrow().last().unwrap(),
            &(SHELL.to_owned(), vec!["/bin/sh".into(), "/a/x".into(), "y".into()])
        );
    }
}
