//! `trunkline dataplane`: the process that carries media.

use std::iter::once;
use std::process::ExitCode;

use dataplane::{Hardening, Life, Pulse};
use signaling::config::MediaBackend;

use crate::failure::Failure;
use crate::fate::{follow_parent, on_stop};
use crate::systemd::{Systemd, Word};

/// Run the data plane alone: pinned media workers that signaling attaches to
#[derive(clap::Args)]
#[command(after_help = "Example:\n  trunkline dataplane --config gateway.toml")]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigArgument,
    /// The user that signaling runs as, and that may attach (else this process's own)
    #[arg(long, value_name = "NAME")]
    signaling_user: Option<String>,
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
    // Before the process gives up to make sockets.
    let systemd = Systemd::of_this_process().map_err(Failure::host)?;
    let mut plan = plan(&config);
    if let Some(name) = &arguments.signaling_user {
        plan.allowed_uid = uid_of(name).map_err(Failure::configuration)?;
    }
    let failed = |e: dataplane::StartError| Failure { code: e.exit_code(), text: e.to_string() };
    // Before the first thread is started: threads inherit it.
    let hardening = Hardening::begin(&plan, config.media.user.as_deref()).map_err(failed)?;
    let stop = dataplane::Stop::new().map_err(Failure::host)?;
    let (trigger, told) = (stop.clone(), systemd.clone());
    on_stop(move |_| {
        told.tell(Word::Stopping);
        trigger.trigger();
    })
    .map_err(Failure::host)?;
    let pulse = Pulse::new(systemd.interval(), move |life| {
        systemd.tell(match life {
            Life::Ready => Word::Ready,
            Life::Alive => Word::Alive,
        });
    });
    dataplane::run_hardened(plan, stop, hardening, pulse).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// The number of a user in passwd(5).
fn uid_of(name: &str) -> Result<u32, String> {
    let users = std::fs::read_to_string(USERS)
        .map_err(|cause| format!("{USERS} cannot be read ({cause}); mount it"))?;
    let uid = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    users.lines().find_map(uid).ok_or_else(|| {
        format!(
            "--signaling-user: there is no user \"{name}\" in {USERS}; create it, or name another"
        )
    })
}

const USERS: &str = "/etc/passwd";

/// What the data plane is told of the gateway's configuration: addresses, ports, cores; never a
/// trunk.
pub fn plan(config: &signaling::config::Config) -> dataplane::Config {
    let media = &config.media;
    dataplane::Config {
        socket: config.run.handover_socket(),
        networks: media.by_network(),
        ports: media.ports.clone(),
        workers: usize::from(media.workers),
        standby: usize::from(media.standby_workers),
        cores: media.cores.clone(),
        flows_per_worker: media.flows,
        gather_us: media.gather_us,
        spin_us: media.spin_us,
        backend: match media.workers_backend() {
            MediaBackend::Auto => dataplane::BackendChoice::Auto,
            MediaBackend::Packet => dataplane::BackendChoice::Packet,
            MediaBackend::Xdp => dataplane::BackendChoice::Xdp,
            MediaBackend::Uring => dataplane::BackendChoice::Uring,
            MediaBackend::Mmsg => dataplane::BackendChoice::Mmsg,
        },
        interfaces: media.interfaces.clone(),
        takes_xdp: media.takes_xdp(),
        xdp_tx: once(media.xdp_tx).chain(media.networks.iter().map(|one| one.xdp_tx)).collect(),
        dscp: media.dscp,
        prompts: media.prompts.clone(),
        allowed_uid: rustix::process::geteuid().as_raw(),
    }
}

#[cfg(test)]
mod tests {
    use dataplane::limits;
    use signaling::config::{media, network};

    #[test]
    fn a_configuration_that_loads_is_within_the_limits_of_the_data_plane() {
        assert_eq!(media::WORKERS_MAX, limits::WORKERS_MAX as u64);
        assert_eq!(media::ADDRESSES_MAX, limits::ADDRESSES_MAX);
        assert_eq!(network::NETWORKS_MAX, limits::NETWORKS_MAX);
        assert_eq!(media::GATHER_US_MAX, u64::from(limits::GATHER_US_MAX));
        assert_eq!(media::SPIN_US_MAX, u64::from(limits::SPIN_US_MAX));
        assert_eq!(media::FLOWS_MAX, u64::from(limits::FLOWS_MAX));
        assert_eq!(signaling::config::dscp::DSCP_MAX, u64::from(limits::DSCP_MAX));
        assert_eq!(media::DSCP_DEFAULT, dataplane::DSCP_DEFAULT);
        assert_eq!(media::GATHER_US_DEFAULT, dataplane::GATHER_US_DEFAULT);
    }
}
