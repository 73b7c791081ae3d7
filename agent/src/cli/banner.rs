//! What `cloakroom agent --dev` prints once it listens: where, and three commands to paste into another terminal.

use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "externalSecrets/foo/password";
const ID: &str = "poc:eni--hyperion:my-app:externalSecrets/foo/password:";
/// The id, escaped once: a `/` is part of its segment. A `:` may stay as it is.
const ESCAPED_ID: &str = "poc:eni--hyperion:my-app:externalSecrets%2Ffoo%2Fpassword:";

/// Writes the socket and the commands. Both paths are absolute, so that the commands work in every directory.
pub(super) fn write(output: &mut dyn Write, program: &Path, socket: &Path) -> io::Result<()> {
    let (program, quoted) = (quote(program), quote(socket));
    writeln!(output, "The agent listens on {}\n", socket.display())?;
    writeln!(
        output,
        "  {program} --socket {quoted} onboard app poc eni--hyperion my-app --secret {NAME}=s3cr3t\n\
         \x20 curl --silent --unix-socket {quoted} http://localhost/api/v1/secrets/{ESCAPED_ID}\n\
         \x20 {program} --socket {quoted} get {ID}"
    )?;
    output.flush()
}

/// The path as one word of any POSIX shell.
fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_are_commands_and_paths_are_quoted_where_a_shell_needs_it() {
        let mut output = Vec::new();
        write(&mut output, Path::new("/opt/it's here/cloakroom"), Path::new("/run/user/1/agent.sock")).unwrap();
        let expected = [
            "The agent listens on /run/user/1/agent.sock",
            "",
            "  '/opt/it'\\''s here/cloakroom' --socket /run/user/1/agent.sock \
               onboard app poc eni--hyperion my-app --secret externalSecrets/foo/password=s3cr3t",
            "  curl --silent --unix-socket /run/user/1/agent.sock \
               http://localhost/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2Ffoo%2Fpassword:",
            "  '/opt/it'\\''s here/cloakroom' --socket /run/user/1/agent.sock \
               get poc:eni--hyperion:my-app:externalSecrets/foo/password:",
            "",
        ];
        assert_eq!(String::from_utf8(output).unwrap(), expected.join("\n"));
    }
}
