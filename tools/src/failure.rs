//! How a command fails: one message for the operator and an exit code for scripts.

use std::fmt::Display;
use std::process::ExitCode;

/// The configuration is at fault; starting again without an edit cannot help (EX_CONFIG).
pub const CONFIGURATION: u8 = 78;
/// The host is at fault: a port, a limit, a kernel feature (EX_UNAVAILABLE).
pub const HOST: u8 = 69;
/// What was asked is refused: a rule, a conflict, a malformed argument (EX_DATAERR).
pub const REFUSED: u8 = 65;
/// There is no such thing (EX_NOINPUT).
pub const NOT_FOUND: u8 = 66;
/// The token does not allow it, or there is none (EX_NOPERM).
pub const NOT_PERMITTED: u8 = 77;
/// Exit codes of sysexits.h that say: starting again cannot help until somebody changes something.
/// 70 (internal error) is not among them.
pub const FINAL: [u8; 7] = [HOST, 71, 72, 73, 74, 77, CONFIGURATION];
/// The command ran and its result is negative: a check failed, a call was lost.
pub const NEGATIVE: u8 = 1;

/// What the operator reads and what a script gets.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub text: String,
}

impl Failure {
    pub fn configuration(cause: impl Display) -> Self {
        Self { code: CONFIGURATION, text: cause.to_string() }
    }

    pub fn host(cause: impl Display) -> Self {
        Self { code: HOST, text: cause.to_string() }
    }

    pub fn report(&self) -> ExitCode {
        eprintln!("trunkline: {}", self.text);
        ExitCode::from(self.code)
    }
}
