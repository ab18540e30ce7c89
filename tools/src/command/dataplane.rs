//! `trunkline dataplane`: the process that carries media.

use std::process::ExitCode;

use dataplane::Hardening;
use signaling::config::MediaBackend;

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
    if arguments.supervised {
        follow_parent().map_err(Failure::host)?;
    }
    let plan = plan(&config);
    let failed = |e: dataplane::StartError| Failure { code: e.exit_code(), text: e.to_string() };
    // Before the first thread is started: threads inherit it.
    let hardening = Hardening::begin(&plan, config.media.user.as_deref()).map_err(failed)?;
    let stop = dataplane::Stop::new().map_err(Failure::host)?;
    let trigger = stop.clone();
    on_stop(move |_| trigger.trigger()).map_err(Failure::host)?;
    dataplane::run_hardened(plan, stop, hardening).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// What the data plane is told of the gateway's configuration: addresses, ports, cores; never a
/// trunk.
pub fn plan(config: &signaling::config::Config) -> dataplane::Config {
    let media = &config.media;
    dataplane::Config {
        socket: config.run.handover_socket(),
        networks: vec![media.addresses.clone()],
        ports: media.ports.clone(),
        workers: usize::from(media.workers),
        standby: usize::from(media.standby_workers),
        cores: media.cores.clone(),
        flows_per_worker: media.flows,
        gather_us: media.gather_us,
        spin_us: media.spin_us,
        backend: match media.backend {
            MediaBackend::Auto => dataplane::BackendChoice::Auto,
            MediaBackend::Packet => dataplane::BackendChoice::Packet,
            MediaBackend::Xdp => dataplane::BackendChoice::Xdp,
            MediaBackend::Uring => dataplane::BackendChoice::Uring,
            MediaBackend::Mmsg => dataplane::BackendChoice::Mmsg,
        },
        interfaces: media.interfaces.clone(),
        xdp_tx: vec![media.xdp_tx],
        dscp: media.dscp,
        prompts: media.prompts.clone(),
        allowed_uid: rustix::process::geteuid().as_raw(),
    }
}

#[cfg(test)]
mod tests {
    use dataplane::limits;
    use signaling::config::media;

    #[test]
    fn a_configuration_that_loads_is_within_the_limits_of_the_data_plane() {
        assert_eq!(media::WORKERS_MAX, limits::WORKERS_MAX as u64);
        assert_eq!(media::ADDRESSES_MAX, limits::ADDRESSES_MAX);
        assert_eq!(media::GATHER_US_MAX, u64::from(limits::GATHER_US_MAX));
        assert_eq!(media::SPIN_US_MAX, u64::from(limits::SPIN_US_MAX));
        assert_eq!(media::FLOWS_MAX, u64::from(limits::FLOWS_MAX));
        assert_eq!(media::DSCP_MAX, u64::from(limits::DSCP_MAX));
        assert_eq!(media::DSCP_DEFAULT, dataplane::DSCP_DEFAULT);
        assert_eq!(media::GATHER_US_DEFAULT, dataplane::GATHER_US_DEFAULT);
    }
}
