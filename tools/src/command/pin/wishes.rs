//! What the command line and the configuration ask for.

use std::path::{Path, PathBuf};

use dataplane::limits::{DESCRIPTORS_OTHER, DESCRIPTORS_PACKET};
use signaling::config::{self, Config, Media, MediaBackend, media};

use super::Scene;
use crate::command::CONFIG_DEFAULT;
use crate::failure::{Failure, REFUSED};
use crate::pin::{Needs, Plan, Request, Topology, media_interface};

pub struct Wishes {
    workers: usize,
    interface: Option<String>,
    config: Option<(PathBuf, Config)>,
}

impl Wishes {
    /// # Errors
    /// That the configuration cannot be read.
    pub fn read(scene: &Scene) -> Result<Wishes, Failure> {
        // A recorded host has a configuration only when one is named.
        let usual = Path::new(CONFIG_DEFAULT);
        let usual = (scene.output.root.is_none() && usual.exists()).then_some(usual);
        let config = match scene.config.as_deref().or(usual) {
            Some(file) => {
                let config = config::load(file).map_err(Failure::configuration)?;
                Some((file.to_owned(), config))
            }
            None => None,
        };
        let configured = config.as_ref().map(|(_, config)| config.media.workers);
        let workers = scene.workers.or(configured).unwrap_or(1);
        Ok(Wishes { workers: workers.into(), interface: scene.interface.clone(), config })
    }

    fn media(&self) -> Option<&Media> {
        self.config.as_ref().map(|(_, config)| &config.media)
    }

    /// The cores that the configuration names, when it names one for each worker.
    fn cores(&self) -> &[usize] {
        let cores = self.media().map(|media| media.cores.as_slice()).unwrap_or_default();
        if cores.len() == self.workers { cores } else { &[] }
    }

    /// The plan to compare and apply: of the configuration's cores where it has them, else, or when
    /// asked for `anew`, of our own.
    ///
    /// # Errors
    /// That it does not fit the host.
    pub fn plan(&self, topology: &Topology, anew: bool) -> Result<Plan, Failure> {
        let addresses = self.media().map(|media| media.addresses.as_slice()).unwrap_or_default();
        let request = Request {
            workers: self.workers,
            cores: if anew { Vec::new() } else { self.cores().to_vec() },
            interface: self.interface.clone().or_else(|| media_interface(topology, addresses)),
        };
        let refused = |error| Failure { code: REFUSED, text: format!("{error}") };
        Plan::make(topology, &request).map_err(refused)
    }

    pub fn needs(&self, plan: &Plan, permanent: bool) -> Needs {
        let media = self.media();
        let workers = plan.placements.len() as u64;
        let flows = media.map_or(media::FLOWS_DEFAULT_MAX, |media| media.flows);
        let backend = media.map_or(MediaBackend::Auto, Media::workers_backend);
        let sockets = match backend {
            MediaBackend::Packet | MediaBackend::Xdp => {
                let addresses = media.map_or(1, |media| media.local().count());
                workers * DESCRIPTORS_PACKET + addresses as u64
            }
            MediaBackend::Auto | MediaBackend::Uring | MediaBackend::Mmsg => {
                2 * u64::from(flows) * workers
            }
        };
        Needs {
            ports: media.map_or(media::PORTS_DEFAULT, |media| media.ports.clone()),
            descriptors: sockets + DESCRIPTORS_OTHER,
            gather_us: media.map_or(media::GATHER_US_DEFAULT, |media| media.gather_us),
            config: self.config.as_ref().map(|(file, _)| file.clone()),
            permanent,
        }
    }

    /// What the configuration lacks so that workers start where the plan has them.
    pub fn lacking(&self, plan: &Plan) -> Option<String> {
        let (file, config) = self.config.as_ref()?;
        let media = &config.media;
        let same =
            usize::from(media.workers) == plan.placements.len() && media.cores == plan.cpus();
        (!same).then(|| {
            format!(
                "{} does not place the workers; write there:\n\n{}",
                file.display(),
                plan.configuration()
            )
        })
    }
}
