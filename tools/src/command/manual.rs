//! `trunkline manual`: the manual pages, made of the same text as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::failure::Failure;

/// Write the manual pages, one for each command
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline manual /usr/local/share/man/man1")]
pub struct Arguments {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(arguments: &Arguments, command: clap::Command) -> Result<ExitCode, Failure> {
    clap_mangen::generate_to(command, &arguments.directory).map_err(|cause| {
        let directory = arguments.directory.display();
        Failure::host(format!(
            "no manual pages in {directory}: {cause}; create it, or name another"
        ))
    })?;
    Ok(ExitCode::SUCCESS)
}
