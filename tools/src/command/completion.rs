//! `trunkline completion`: what the shell completes.

use std::process::ExitCode;

use crate::failure::Failure;

/// Print the completion of a shell
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline completion bash > /etc/bash_completion.d/trunkline")]
pub struct Arguments {
    shell: clap_complete::Shell,
}

pub fn run(arguments: &Arguments, command: &mut clap::Command) -> Result<ExitCode, Failure> {
    clap_complete::generate(arguments.shell, command, "trunkline", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
