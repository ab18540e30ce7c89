//! Every way in which a peer can fail, provoked, and named as it is.

mod calls;
mod failures;
mod peer;
mod secure;

use std::path::Path;

use super::*;
use crate::config;
use crate::locate::zone::Zone;

use peer::Peer;

const PASSWORD: &str = "swordfish-canary-1";

/// A kit on loopback and one trunk.
struct Scene {
    probes: Probes,
    trunk: Arc<Trunk>,
}

/// Waits of a test: long for what comes, short for what is meant not to come.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    ring: Duration::from_secs(10),
    talk: Duration::from_millis(600),
};

impl Scene {
    /// A trunk with these fields; files count from `base`.
    fn new(fields: &str, base: &Path) -> Self {
        Self::with(fields, base, &[], PATIENCE)
    }

    fn with(fields: &str, base: &Path, dns: &[SocketAddr], patience: Patience) -> Self {
        let text = format!(
            "[sip]\nudp = [\"127.0.0.1:5060\"]\ntcp = [\"127.0.0.1:5060\"]\n\
             tls = [\"127.0.0.1:5061\"]\ntls_certificate = \"gw.pem\"\ntls_key = \"gw.key\"\n\
             tls_ca = \"ca.pem\"\n[[trunk]]\nname = \"t\"\n{fields}"
        );
        let config = config::parse(&text, base).unwrap_or_else(|errors| panic!("{errors}"));
        let mut sip = config.sip.clone();
        if !base.join("gw.pem").exists() {
            (sip.tls_certificate, sip.tls_key) = (None, None);
        }
        let kit = Kit {
            dns: Dns::with_patience(dns, Duration::from_millis(400)),
            reach: Reach::ALL,
            sip,
            listeners: vec![(Transport::Udp, "127.0.0.1:5060".parse().unwrap())],
            media: config::Media { ports: 31_000..=31_999, ..config.media.clone() },
            patience,
        };
        let trunk = Arc::clone(&config.trunks[0]);
        Self { probes: Probes::new(kit), trunk }
    }

    /// A trunk over UDP to a peer, with more fields.
    fn toward(peer: &Peer, fields: &str) -> Self {
        Self::new(&format!("{}{fields}", peer.fields()), Path::new("."))
    }

    /// Runs the test to its end: its report, which holds exactly the steps that were told.
    fn run(&self, number: Option<&str>) -> Report {
        let number = number.map(str::to_owned);
        let mut updates = self.probes.start(Arc::clone(&self.trunk), number).unwrap();
        let mut told = Vec::new();
        loop {
            match updates.blocking_recv().expect("the test ended without a report") {
                Update::Step(step) => told.push(step),
                Update::Done(report) => {
                    assert_eq!(report.steps, told);
                    assert!(updates.blocking_recv().is_none(), "nothing follows");
                    let text = serde_json::to_string(&report).unwrap();
                    assert!(!text.contains(PASSWORD), "{text}");
                    let worst = report.steps.iter().map(|step| step.verdict).max();
                    assert_eq!(Some(report.verdict), worst);
                    for step in &report.steps {
                        let bad = matches!(step.verdict, Verdict::Warn | Verdict::Fail);
                        assert_eq!(bad, step.remedy.is_some(), "{step:?}");
                        assert_eq!(bad, step.failure.is_some(), "{step:?}");
                        assert!(!step.text.is_empty());
                    }
                    return report;
                }
            }
        }
    }
}

/// The step of a stage.
fn step(report: &Report, stage: Stage) -> &Step {
    let found = report.steps.iter().find(|step| step.stage == stage);
    found.unwrap_or_else(|| panic!("no {stage:?} in {report:#?}"))
}

/// The verdicts in order.
fn verdicts(report: &Report) -> Vec<(Stage, Verdict)> {
    report.steps.iter().map(|step| (step.stage, step.verdict)).collect()
}

/// The last step, which must have failed, in one line.
#[track_caller]
fn failed(report: &Report, stage: Stage, failure: Failure) {
    let last = report.steps.last().unwrap();
    let got = (last.stage, last.verdict, last.failure);
    assert_eq!(got, (stage, Verdict::Fail, Some(failure)), "{report:#?}");
}

#[test]
fn one_test_of_a_trunk_in_five_seconds_and_four_at_a_time() {
    let peer = Peer::silent();
    let scene = Scene::toward(&peer, "");
    let now = Instant::now();
    assert_eq!(scene.probes.admit(TrunkId(1), now), Ok(()));
    let soon = now + Duration::from_secs(2);
    let wait = Duration::from_secs(3);
    assert_eq!(scene.probes.admit(TrunkId(1), soon), Err(Refused::TooSoon { wait }));
    for id in 2..=limits::AT_ONCE as u32 {
        assert_eq!(scene.probes.admit(TrunkId(id), now), Ok(()));
    }
    assert_eq!(scene.probes.admit(TrunkId(99), now), Err(Refused::Busy));
    let late = now + limits::PAUSE;
    assert_eq!(scene.probes.admit(TrunkId(1), late), Err(Refused::Busy));
    drop(Running(Arc::clone(&scene.probes.0)));
    assert_eq!(scene.probes.admit(TrunkId(1), late), Ok(()));
    for refused in [Refused::Busy, Refused::TooSoon { wait }] {
        assert!(!refused.to_string().is_empty());
    }
}

#[test]
fn a_test_that_nobody_listens_to_ends_and_gives_its_place_back() {
    let peer = Peer::answering(|request| vec![peer::reply(request, 200, "", "")]);
    let scene = Scene::toward(&peer, "");
    drop(scene.probes.start(Arc::clone(&scene.trunk), None).unwrap());
    let running = || scene.probes.0.begun.lock().unwrap().running;
    let limit = Instant::now() + Duration::from_secs(20);
    while running() > 0 {
        assert!(Instant::now() < limit, "it never ended");
        std::thread::yield_now();
    }
}

#[test]
fn updates_are_written_as_the_api_says() {
    let peer = Peer::answering(|request| vec![peer::reply(request, 200, "Server: x\r\n", "")]);
    let report = Scene::toward(&peer, "").run(None);
    let json = serde_json::to_value(Update::Done(report.clone())).unwrap();
    let step = &json["done"]["steps"][2];
    assert_eq!((step["stage"].as_str(), step["verdict"].as_str()), (Some("OPTIONS"), Some("PASS")));
    assert_eq!(json["done"]["name"], "t");
    assert_eq!(json["done"]["ladder"][0]["sent"], true);
    assert!(json["done"]["ladder"][0]["text"].as_str().unwrap().starts_with("OPTIONS sip:"));
    let refused = serde_json::to_value(Failure::ClientCertificateDemanded).unwrap();
    assert_eq!(refused, "client_certificate_demanded");
}
