//! `trunkline`: one executable for the gateway, its two processes and its operator.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod client;
mod command;
mod failure;
mod fate;
mod grid;
mod log;
mod pin;
mod supervisor;
mod systemd;
#[cfg(test)]
mod tidy;
mod top;
mod worker_cpu;

/// Relaying never allocates; everything around it does, on both processes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// SIP-trunk gateway: joins secure trunks (TLS, SRTP) and insecure ones (UDP, RTP).
#[derive(Parser)]
#[command(name = "trunkline", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  trunkline demo                          real calls both ways on this machine, nothing configured
  trunkline check --config gateway.toml   what on this host would stop the gateway
  trunkline up --config gateway.toml      the gateway: both processes, supervised";

#[derive(Subcommand)]
enum Command {
    Up(command::up::Arguments),
    Demo(command::demo::Arguments),
    Check(command::check::Arguments),
    Pin(command::pin::Arguments),
    Signaling(command::signaling::Arguments),
    Dataplane(command::dataplane::Arguments),
    Trunks(command::trunks::Arguments),
    Groups(command::groups::Arguments),
    Routes(command::routes::Arguments),
    Presets(command::presets::Arguments),
    Calls(command::calls::Arguments),
    Workers(command::workers::Arguments),
    Top(command::top::Arguments),
    Tokens(command::tokens::Arguments),
    Audit(command::audit::Arguments),
    Backup(command::backup::Arguments),
    Restore(command::backup::RestoreArguments),
    Import(command::transfer::ImportArguments),
    Export(command::transfer::ExportArguments),
    Completion(command::completion::Arguments),
    Manual(command::manual::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Up(arguments) => command::up::run(&arguments),
        Command::Demo(arguments) => command::demo::run(&arguments),
        Command::Check(arguments) => command::check::run(&arguments),
        Command::Pin(arguments) => command::pin::run(&arguments),
        Command::Signaling(arguments) => command::signaling::run(&arguments),
        Command::Dataplane(arguments) => command::dataplane::run(&arguments),
        Command::Trunks(arguments) => command::trunks::run(&arguments),
        Command::Groups(arguments) => command::groups::run(&arguments),
        Command::Routes(arguments) => command::routes::run(&arguments),
        Command::Presets(arguments) => command::presets::run(&arguments),
        Command::Calls(arguments) => command::calls::run(&arguments),
        Command::Workers(arguments) => command::workers::run(&arguments),
        Command::Top(arguments) => command::top::run(&arguments),
        Command::Tokens(arguments) => command::tokens::run(&arguments),
        Command::Audit(arguments) => command::audit::run(&arguments),
        Command::Backup(arguments) => command::backup::run(&arguments),
        Command::Restore(arguments) => command::backup::restore(&arguments),
        Command::Import(arguments) => command::transfer::import(&arguments),
        Command::Export(arguments) => command::transfer::export(&arguments),
        Command::Completion(arguments) => {
            command::completion::run(&arguments, &mut self::Arguments::command())
        }
        Command::Manual(arguments) => command::manual::run(&arguments, self::Arguments::command()),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
