//! `trunkline dataplane`: the process that carries media.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::fate::{follow_parent, on_stop};

/// Run the data plane alone: pinned media workers that signaling attaches to
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline dataplane --config gateway.toml")]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigArgument,
    /// End when the process that started this one dies
    #[arg(long, hide = true)]
    supervised: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = signaling::config::load(&arguments.file.config).map_err(Failure::configuration)?;
    crate::log::start(&config.log).map_err(Failure::configuration)?;
    crate::fate::leave_no_core_dump().map_err(Failure::host)?;
    if arguments.supervised {
        follow_parent().map_err(Failure::host)?;
    }
    let stop = dataplane::Stop::new().map_err(Failure::host)?;
    let trigger = stop.clone();
    on_stop(move |_| trigger.trigger()).map_err(Failure::host)?;
    dataplane::run(plan(&config), stop)
        .map_err(|e| Failure { code: e.exit_code(), text: e.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

/// What the data plane is told of the gateway's configuration: addresses, ports, cores; never a
/// trunk.
pub fn plan(config: &signaling::config::Config) -> dataplane::Config {
    let media = &config.media;
    dataplane::Config {
        socket: config.run.handover_socket(),
        addresses: vec![media.address],
        ports: media.ports.clone(),
        workers: usize::from(media.workers),
        cores: media.cores.clone(),
        flows_per_worker: media.flows,
        gather_us: media.gather_us,
        allowed_uid: rustix::process::geteuid().as_raw(),
    }
}
