//! `trunkline up`: the gateway in the foreground, both processes supervised.

use std::process::ExitCode;
use std::sync::mpsc::channel;

use crate::failure::Failure;
use crate::supervisor::Supervisor;
use crate::{fate, log};

/// Run the gateway: both processes, restarted when they die
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline up --config gateway.toml")]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigArgument,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    fate::leave_no_core_dump().map_err(Failure::host)?;
    let config = signaling::config::load(&arguments.file.config).map_err(Failure::configuration)?;
    log::start(&config.log).map_err(Failure::configuration)?;
    let (stop, stopped) = channel();
    fate::on_stop(move |_| {
        let _supervisor_gone = stop.send(());
    })
    .map_err(Failure::host)?;
    Supervisor::start(&arguments.file.config)?.run(&stopped)?;
    Ok(ExitCode::SUCCESS)
}
