//! Programs that build the stage: run, and heard when they complain.

use std::process::{Command, Stdio};

use crate::fault::Fault;

/// `ip` with these arguments.
pub fn ip(arguments: &[&str]) -> Result<(), Fault> {
    quiet(Command::new("ip").args(arguments))
}

/// Runs a command that should say nothing.
pub fn quiet(command: &mut Command) -> Result<(), Fault> {
    output(command).map(drop)
}

/// Runs a command; what it wrote.
///
/// # Errors
/// The command line and the command's own words when it fails.
pub fn output(command: &mut Command) -> Result<String, Fault> {
    let result = command.stdin(Stdio::null()).output();
    let line = || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    let out = result.map_err(|error| Fault::new(format!("{}: {error}", line()), ""))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(Fault::new(format!("{}: {}", line(), said.trim()), ""));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The first line that a program says of its version, on whichever output.
pub fn version_of(command: &mut Command) -> String {
    let said = command.stdin(Stdio::null()).output().ok().map(|out| {
        let text = if out.stdout.is_empty() { out.stderr } else { out.stdout };
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
    });
    said.unwrap_or_else(|| String::from("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_quoted_with_its_words() {
        let mut command = Command::new("sh");
        let text = quiet(command.args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert!(text.to_string().contains("no such thing"), "{text}");
        assert!(text.to_string().starts_with("sh -c"), "{text}");
        assert!(quiet(&mut Command::new("surely-not-a-program")).is_err());
        assert_eq!(output(Command::new("echo").arg("x")).unwrap(), "x\n");
    }
}
