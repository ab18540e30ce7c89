//! Our data plane: `trunkline dataplane` as a process of its own, told of calls through shared
//! memory exactly as signaling tells it.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use abi::handover::{self, Worker};
use abi::{Close, Command as Order, Counter, Family, FlowId, Key, Notice, Open, Update};
use bench::media::SrtpKey;
use rtp::srtp::Suite;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{CallOpen, CallPlan, Device, Identity, Launch, LegOpen, LegPlan};
use crate::account::Executor;
use crate::fault::Fault;
use crate::stage::{DEVICE_ADDRESS, Stage, scratch};

pub struct Ours {
    process: Child,
    directory: PathBuf,
    workers: Vec<Worker>,
    version: String,
    tuning: String,
    tokens: u64,
    generations: HashMap<u32, u32>,
}

impl Ours {
    /// Starts the process and attaches to it.
    ///
    /// # Errors
    /// The binary is missing, or the process ended; then its own words.
    pub fn start(launch: &Launch, stage: &Stage) -> Result<Ours, Fault> {
        let program = &launch.trunkline;
        if !program.is_file() {
            return Err(Fault::new(
                format!("{} is missing", program.display()),
                "build it: cargo build --release -p tools; or name it with --trunkline",
            ));
        }
        let directory = scratch("ours");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).map_err(Fault::io(directory.display()))?;
        let configuration = directory.join("gateway.toml");
        let text = configuration_of(launch, &stage.plan.device_cores, &directory);
        fs::write(&configuration, text).map_err(Fault::io(configuration.display()))?;
        let log = directory.join("log");
        let file = fs::File::create(&log).map_err(Fault::io(log.display()))?;
        let process = stage
            .device_command(program)
            .args(["dataplane", "--config"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(Fault::io("start the data plane"))?;
        let version = crate::stage::version_of(Command::new(program).arg("--version"));
        let tuning = format!(
            "backend {}, workers {}, gather 200 us, cores pinned",
            launch.backend, launch.workers
        );
        let mut ours = Ours {
            process,
            directory: directory.clone(),
            workers: Vec::new(),
            version,
            tuning,
            tokens: 0,
            generations: HashMap::new(),
        };
        ours.attach(&directory, &log)?;
        Ok(ours)
    }

    fn attach(&mut self, directory: &Path, log: &Path) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let socket = fs::read_dir(directory).ok().and_then(|entries| {
                let mut paths = entries.flatten().map(|entry| entry.path());
                paths.find(|path| path.extension().is_some_and(|kind| kind == "sock"))
            });
            let attached = socket.map(|socket| handover::connect(&socket));
            if let Some(Ok(workers)) = attached {
                self.workers = workers;
                return Ok(());
            }
            let ended = self.process.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(log).unwrap_or_default();
                let error = attached.and_then(Result::err).map(|error| error.to_string());
                return Err(Fault::new(
                    format!(
                        "the data plane did not start: {} {}",
                        error.unwrap_or_default(),
                        said.trim()
                    ),
                    "run `trunkline check`; see whether both are of one build",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Sends the orders to one worker and waits for as many answers.
    fn order<const N: usize>(
        &mut self,
        worker: usize,
        orders: [Order; N],
    ) -> Result<[Notice; N], Fault> {
        let gone = || Fault::new("the data plane is gone", "see whether it crashed");
        let worker = self.workers.get_mut(worker).ok_or_else(gone)?;
        for order in &orders {
            worker.guest.commands.push(order).map_err(|_| {
                Fault::new("the command ring is full", "this is a defect of the bench")
            })?;
        }
        abi::doorbell::ring(&worker.command_bell).map_err(Fault::io("ring the worker"))?;
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::with_capacity(N);
        while answers.len() < N {
            abi::doorbell::silence(&worker.event_bell).map_err(Fault::io("doorbell"))?;
            while let Some(event) = worker.guest.events.pop() {
                let notice = event.decode().map_err(|bad| Fault::new(bad.to_string(), ""))?;
                if !matches!(notice, Notice::Timeout { .. }) {
                    answers.push(notice);
                }
            }
            if answers.len() < N {
                if worker.has_ended() || Instant::now() > deadline {
                    return Err(gone());
                }
                let mut bells = [PollFd::new(&worker.event_bell, PollFlags::IN)];
                let _ = poll(&mut bells, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
            }
        }
        answers.try_into().map_err(|_| gone())
    }

    /// Worker and the two flows of a call.
    fn place(&mut self, call: u32, next_life: bool) -> (usize, FlowId, FlowId) {
        let workers = self.workers.len().max(1) as u32;
        let generation = self.generations.entry(call).or_insert(0);
        *generation += u32::from(next_life);
        let index = call / workers * 2;
        let flow = |index| FlowId { index, generation: *generation };
        ((call % workers) as usize, flow(index), flow(index + 1))
    }
}

impl Device for Ours {
    fn identity(&self) -> Identity {
        Identity {
            name: "trunkline".into(),
            version: self.version.clone(),
            tuning: self.tuning.clone(),
        }
    }

    fn executor(&self) -> Executor {
        Executor::Process(self.process.id())
    }

    fn open(&mut self, call: &CallPlan) -> Result<CallOpen, Fault> {
        let (worker, a, b) = self.place(call.index, true);
        let mut label = [0; 16];
        label[..4].copy_from_slice(&call.index.to_be_bytes());
        let open = |token, flow| {
            let (network, family) = (0, Family::Any);
            Order::open(&Open {
                token,
                flow,
                call: label,
                network,
                family,
                rtcp_mux_in: false,
                dscp: None,
            })
        };
        let orders = [open(self.token(), a), open(self.token(), b)];
        let [at_a, at_b] = self.order(worker, orders)?;
        let (at_a, at_b) = (opened(at_a, a)?, opened(at_b, b)?);
        let fresh = |leg: &LegPlan| {
            let suite = leg.key.as_ref().map(SrtpKey::suite);
            suite.map(SrtpKey::fresh).transpose().map_err(|error| Fault::new(error.to_string(), ""))
        };
        let (key_a, key_b) = (fresh(&call.a)?, fresh(&call.b)?);
        // Flow `a` is what comes in at leg A and leaves to far end B.
        let updates = [
            update(self.token(), a, b, &call.a, &call.b, key_b.as_ref()),
            update(self.token(), b, a, &call.b, &call.a, key_a.as_ref()),
        ];
        for answer in self.order(worker, updates.map(|update| Order::update(&update)))? {
            if !matches!(answer, Notice::Updated { .. }) {
                return Err(Fault::new(format!("UPDATE was answered by {answer:?}"), ""));
            }
        }
        Ok(CallOpen {
            a: LegOpen { device: at_a, key: key_a },
            b: LegOpen { device: at_b, key: key_b },
        })
    }

    fn close(&mut self, call: u32) -> Result<(), Fault> {
        let (worker, a, b) = self.place(call, false);
        let orders = [a, b].map(|flow| {
            self.tokens += 1;
            Order::close(&Close { token: self.tokens, flow })
        });
        for answer in self.order(worker, orders)? {
            if !matches!(answer, Notice::Closed { .. }) {
                return Err(Fault::new(format!("CLOSE was answered by {answer:?}"), ""));
            }
        }
        Ok(())
    }

    fn drops(&self) -> Vec<(String, u64)> {
        let dropping = |counter: &&Counter| {
            let name = counter.name();
            name.starts_with("drop_") || name == "buffers_exhausted"
        };
        let sum = |counter: &Counter| -> u64 {
            self.workers.iter().map(|worker| worker.guest.counters.get(*counter)).sum()
        };
        Counter::ALL
            .iter()
            .filter(dropping)
            .map(|counter| (counter.name().to_owned(), sum(counter)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.workers.clear();
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn opened(answer: Notice, flow: FlowId) -> Result<SocketAddrV4, Fault> {
    match answer {
        Notice::Opened { local_rtp: SocketAddr::V4(local), flow: of, .. } if of == flow => {
            Ok(local)
        }
        Notice::Refused { reason, .. } => Err(Fault::new(reason.to_string(), "lower --calls")),
        other => Err(Fault::new(format!("OPEN was answered by {other:?}"), "")),
    }
}

fn update(
    token: u64,
    flow: FlowId,
    peer: FlowId,
    from: &LegPlan,
    to: &LegPlan,
    protect: Option<&SrtpKey>,
) -> Update {
    let rtcp = |far: SocketAddrV4| SocketAddr::V4(SocketAddrV4::new(*far.ip(), far.port() + 1));
    Update {
        peer: Some(peer),
        relay: true,
        source_rtp: Some(from.far.into()),
        source_rtcp: Some(rtcp(from.far)),
        destination_rtp: Some(to.far.into()),
        destination_rtcp: Some(rtcp(to.far)),
        unprotect: from.key.as_ref().and_then(key_of),
        protect: protect.and_then(key_of),
        ..Update::new(token, flow)
    }
}

fn key_of(key: &SrtpKey) -> Option<Key> {
    let (master, salt) = key.parts()?;
    let (_, suite) = SUITES.into_iter().find(|(suite, _)| *suite == key.suite())?;
    Key::new(suite, master, salt)
}

/// The suites of the workloads, in the words of the data plane.
const SUITES: [(Suite, abi::Suite); 4] = [
    (Suite::AesCm128HmacSha1_80, abi::Suite::AesCm128HmacSha1_80),
    (Suite::AesCm128HmacSha1_32, abi::Suite::AesCm128HmacSha1_32),
    (Suite::AeadAes128Gcm, abi::Suite::AeadAes128Gcm),
    (Suite::AeadAes256Gcm, abi::Suite::AeadAes256Gcm),
];

fn configuration_of(launch: &Launch, cores: &[usize], directory: &Path) -> String {
    let cores: Vec<_> = cores.iter().take(launch.workers).map(usize::to_string).collect();
    // `xdp-tx` is `xdp` with the kernel relaying what it may.
    let (backend, xdp_tx) = match launch.backend.strip_suffix("-tx") {
        Some(backend) => (backend, "xdp_tx = true\n"),
        None => (launch.backend.as_str(), ""),
    };
    let flows = (launch.calls.div_ceil(launch.workers as u32) * 2).max(2);
    format!(
        "[sip]\nudp = [\"127.0.0.1:5060\"]\n\n\
         [media]\naddress = \"{DEVICE_ADDRESS}\"\nports = \"{PORTS}\"\nflows = {flows}\n\
         cores = [{}]\nworkers = {}\nstandby_workers = 0\ngather_us = 200\nbackend = \"{}\"\n{}\n\
         [run]\ndirectory = \"{}\"\n\n[log]\nlevel = \"warn\"\n",
        cores.join(", "),
        launch.workers,
        backend,
        xdp_tx,
        directory.display(),
    )
}

const PORTS: &str = "20000-65535";
/// Only a device that fails makes the bench wait so long.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_cores_and_room_for_every_call() {
        let launch = Launch {
            workers: 2,
            calls: 1_501,
            backend: "packet".into(),
            trunkline: PathBuf::new(),
            rtpengine: PathBuf::new(),
        };
        let text = configuration_of(&launch, &[1, 2, 3], Path::new("/run/x"));
        assert!(text.contains("cores = [1, 2]\nworkers = 2\nstandby_workers = 0\n"), "{text}");
        assert!(text.contains("flows = 1502\n"), "{text}");
        assert!(text.contains("backend = \"packet\"\n\n"), "{text}");
        let launch = Launch { backend: "xdp-tx".into(), ..launch };
        let text = configuration_of(&launch, &[1], Path::new("/run/x"));
        assert!(text.contains("backend = \"xdp\"\nxdp_tx = true\n\n"), "{text}");
    }

    #[test]
    fn keys_reach_the_data_plane_unchanged() {
        for (suite, of_abi) in SUITES {
            let key = SrtpKey::fresh(suite).unwrap();
            let ours = key_of(&key).unwrap();
            let (master, salt) = key.parts().unwrap();
            assert_eq!((ours.key(), ours.salt()), (master, salt));
            assert_eq!(ours.suite(), of_abi);
        }
    }
}
