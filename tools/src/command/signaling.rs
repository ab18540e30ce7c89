//! `trunkline signaling`: the process that speaks SIP.

use std::process::ExitCode;

use signaling::{Life, Pulse};

use crate::failure::Failure;
use crate::fate::{Signal, follow_parent, on_stop};
use crate::systemd::{Systemd, Word};

/// Run the signalling process alone (SIGTERM leaves calls and media as they are, SIGINT ends them)
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline signaling --config gateway.toml")]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigArgument,
    /// End when the process that started this one dies
    #[arg(long, hide = true)]
    supervised: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    crate::fate::leave_no_core_dump().map_err(Failure::host)?;
    let config = signaling::config::load(&arguments.file.config).map_err(Failure::configuration)?;
    crate::log::start(&config.log).map_err(Failure::configuration)?;
    if arguments.supervised {
        follow_parent().map_err(Failure::host)?;
    }
    let systemd = Systemd::of_this_process().map_err(Failure::host)?;
    let (stop, stopped) = signaling::stop();
    let told = systemd.clone();
    on_stop(move |signal| {
        told.tell(Word::Stopping);
        match signal {
            Signal::Terminate => stop.leave_calls(),
            Signal::Interrupt => stop.end_calls(),
        }
    })
    .map_err(Failure::host)?;
    let pulse = Pulse::new(systemd.interval(), move |life| {
        systemd.tell(match life {
            Life::Ready => Word::Ready,
            Life::Alive => Word::Alive,
        });
    });
    signaling::run(config, stopped, pulse).map_err(|e| {
        if e.is_configuration() { Failure::configuration(e) } else { Failure::host(e) }
    })?;
    Ok(ExitCode::SUCCESS)
}
