//! Workers that move, come and go under a call, told by the command line; the live view of it all.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::capture::Capture;
use crate::far::{Far, Role};
use crate::gateway::{Gateway, Place, trunkline};
use crate::lines::PATIENCE;
use crate::stored::{self, Operator, TOKEN};
use crate::survival::sequence_numbers;

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// Six seconds of audio, twice as dense as usual.
const PACKETS: u32 = 600;
const EVERY_MS: u32 = 10;

/// A gateway with one worker that serves and one that stands by, and a call on the first.
struct Stage {
    gateway: Gateway,
    operator: Operator,
    provider: Far,
    pbx: Far,
    place: Place,
}

impl Stage {
    fn new() -> Stage {
        let place = Place::new();
        let gateway = stored::start(&place, "info");
        let operator = Operator::new(&place);
        let file = place.file("trunks.toml");
        fs::write(&file, place.config()).unwrap();
        operator.ask(&["import", "--config", file.to_str().unwrap()]);
        let pbx = Far::start(&place, Role::SecurePbx(SUITE), &[]);
        let provider = Far::start(&place, Role::Provider, &[]);
        let mut stage = Stage { gateway, operator, provider, pbx, place };
        stage.call();
        stage
    }

    fn call(&mut self) {
        self.provider.call("390612345");
        self.provider.wait("answered");
        self.pbx.wait("answered");
    }

    fn talk(&mut self) {
        self.provider.talk(PACKETS, EVERY_MS, 0);
        self.pbx.talk(PACKETS, EVERY_MS, 0);
    }

    /// The call's media as the list of calls shows it.
    fn media(&self) -> Value {
        self.operator.ask(&["calls", "list"])[0]["media"].clone()
    }

    fn packets(&self) -> u64 {
        self.media()["from_caller"]["packets"].as_u64().unwrap_or(0)
    }

    fn await_packets(&self, least: u64) {
        await_that("media flows", || self.packets() >= least);
    }

    fn worker(&self, id: usize) -> Value {
        self.operator.ask(&["workers"])[id].clone()
    }

    /// The cores on which the kernel lets a worker run.
    fn cores_of(&self, worker: usize) -> String {
        let process = self.gateway.pid_of("dataplane").as_raw_nonzero();
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let name = format!("media-{worker}\n");
        let mut paths = tasks.map(|task| task.unwrap().path());
        let task = paths.find(|path| fs::read_to_string(path.join("comm")).unwrap() == name);
        allowed(&fs::read_to_string(task.unwrap().join("status")).unwrap()).to_owned()
    }
}

fn allowed(status: &str) -> &str {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim()
}

/// The first and the last core that this host lets us use.
fn cores() -> [String; 2] {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = allowed(&status);
    let number = |text: &str| text.to_owned();
    let first = list.split([',', '-']).next().unwrap();
    let last = list.rsplit([',', '-']).next().unwrap();
    [number(first), number(last)]
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "did not come about: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_call_loses_nothing_while_its_worker_moves_and_others_come_and_go() {
    let mut stage = Stage::new();
    let capture = Capture::start(&stage.place);
    let [first, last] = cores();
    stage.talk();
    stage.await_packets(1);
    for core in [&last, &first, &last] {
        let moved = stage.operator.ask(&["workers", "move", "0", core]);
        assert_eq!((moved["core"].to_string(), &moved["state"]), (core.clone(), &json!("running")));
        assert_eq!(stage.cores_of(0), **core, "the kernel agrees");
    }
    let (code, text) = stage.operator.refused(&["workers", "move", "0", "1000"]);
    assert!(code == 65 && text.contains("does not let the worker run on that core"), "{text}");
    let (code, text) = stage.operator.refused(&["workers", "drain", "0"]);
    assert!(code == 65 && text.contains("add one first"), "{text}");
    let added = stage.operator.ask(&["workers", "add", "--core", &first]);
    assert_eq!((&added["id"], &added["state"]), (&json!(1), &json!("running")));
    assert_eq!(stage.cores_of(1), first);
    let drained = stage.operator.ask(&["workers", "drain", "0"]);
    assert_eq!((&drained["state"], &drained["flows"]), (&json!("draining"), &json!(2)));
    stage.operator.ask(&["workers", "resume", "0"]);
    stage.operator.ask(&["workers", "drain", "1"]);
    stage.operator.ask(&["workers", "resume", "1"]);
    stage.operator.ask(&["workers", "drain", "0"]);
    let (worker, during) = (stage.media()["worker"].clone(), stage.packets());
    assert_eq!(worker, 0, "calls end where they began");
    assert!(during < u64::from(PACKETS), "all this was while media flowed: {during}");
    for side in [&mut stage.provider, &mut stage.pbx] {
        side.wait("talked");
        let tally = side.reach(&json!({"distinct": PACKETS}));
        assert_eq!((tally.distinct, tally.repeated, tally.refused), (PACKETS.into(), 0, 0));
    }
    let wire = capture.finish();
    for receiver in [stage.place.provider, stage.place.pbx] {
        let numbers = sequence_numbers(&wire, &stage.place, receiver);
        let odd = numbers.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) != 1).count();
        assert_eq!((numbers.len(), odd), (PACKETS as usize, 0), "to {receiver}: lost or reordered");
    }
    let Stage { provider, pbx, .. } = &mut stage;
    provider.hang_up(pbx);
    let empty = stage.operator.ask(&["workers", "drain", "0", "--wait"]);
    assert_eq!((&empty["state"], &empty["flows"]), (&json!("standby"), &json!(0)));
    assert_eq!(stage.worker(0)["counters"]["pairs_owned"], 0, "its ports are the other one's");
    stage.call();
    assert_eq!(stage.media()["worker"], 1, "new calls go to who takes them");
    let log = stage.operator.ask(&["audit", "list"]).to_string();
    assert!(log.contains("\"worker\"") && log.contains("\"drain\""), "{log}");
    assert!(stage.gateway.stop());
}

/// A terminal of 100 columns and 30 lines that runs one command.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn run(place: &Place, arguments: &str) -> Terminal {
        let socket = format!("trunkline-{}-{}", std::process::id(), place.gateway);
        let program = trunkline().get_program().to_owned();
        let command = format!("{} {arguments}; echo ended $?; cat", program.to_string_lossy());
        let terminal = Terminal { socket };
        let size = ["-x", "100", "-y", "30"];
        terminal.tmux(&[&["new-session", "-d"], &size[..], &[&command]].concat());
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.socket, "-f", "/dev/null"])
            .args(arguments)
            .env("TRUNKLINE_TOKEN", TOKEN)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .output()
            .expect("tmux is missing: apt-get install tmux");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the screen is as wanted, and returns it.
    fn await_screen(&self, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "the screen stays like this:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let kill = ["-L", &self.socket, "kill-server"];
        let _gone_already = Command::new("tmux").args(kill).output();
    }
}

/// The cells of a screen's line that has all of `words`.
fn row<'a>(screen: &'a str, words: &[&str]) -> Option<Vec<&'a str>> {
    let line = screen.lines().find(|line| words.iter().all(|word| line.contains(word)))?;
    Some(
        line.split(|c: char| c.is_whitespace() || c == '│')
            .filter(|cell| !cell.is_empty())
            .collect(),
    )
}

#[test]
fn top_shows_workers_trunks_and_calls_on_a_terminal_and_to_scripts() {
    let mut stage = Stage::new();
    stage.talk();
    stage.await_packets(1);
    let url = format!("http://{}:8080", stage.place.gateway);
    let terminal = Terminal::run(&stage.place, &format!("top --interval 0.5 --url {url}"));
    let screen = terminal.await_screen(|screen| {
        // Packets a second, and where the time went.
        row(screen, &["0", "running"]).is_some_and(|cells| {
            let number = |at: usize| cells[at].parse::<f64>().unwrap_or(0.0);
            number(4) > 50.0 && number(10) > 0.0
        })
    });
    let cells = row(&screen, &["0", "running"]).unwrap();
    assert_eq!((cells[0], cells[1], cells[3]), ("0", "running", "2"), "{screen}");
    assert!(cells[6..10].iter().all(|share| share.ends_with('%')), "{screen}");
    let [p50, p99] = [cells[10], cells[11]].map(|us| us.parse::<u64>().unwrap());
    assert!(p50 <= p99, "{screen}");
    let standby = row(&screen, &["1", "standby"]).unwrap();
    assert_eq!((standby[3], standby[4]), ("0", "0"), "{screen}");
    for heading in ["SLEEP", "GATH", "SPIN", "BUSY", "drops by reason", "calls by trunk", "MOS"] {
        assert!(screen.contains(heading), "{heading} in\n{screen}");
    }
    assert!(row(&screen, &["provider", "1"]).is_some(), "{screen}");
    assert!(row(&screen, &["provider", "pbx"]).is_some(), "the call in\n{screen}");

    let once = stage.operator.ask(&["top", "--once", "--interval", "0.5"]);
    let worker = &once["workers"][0];
    assert!(worker["rates"]["packets_per_second"].as_f64().unwrap() > 50.0, "{once}");
    let rates = &worker["rates"];
    let time: f64 = ["sleep", "gather", "spin"].iter().map(|r| rates[r].as_f64().unwrap()).sum();
    assert!((0.0..=1.01).contains(&time) && rates["busy"].as_f64().unwrap() > 0.0, "{once}");
    assert!(worker["delay_us"]["count"].as_u64().unwrap() > 0, "{once}");
    assert_eq!((&once["calls"], &once["worst"][0]["to_trunk"]), (&json!(1), &json!("pbx")));
    let trunks = once["trunks"].as_array().unwrap();
    let provider = trunks.iter().find(|trunk| trunk["name"] == "provider").unwrap();
    assert_eq!((&provider["inbound"], &provider["outbound"]), (&json!(1), &json!(0)));

    terminal.tmux(&["send-keys", "p"]);
    terminal.await_screen(|screen| screen.lines().next().unwrap().contains("paused"));
    terminal.tmux(&["send-keys", "p"]);
    assert!(stage.gateway.stop());
    terminal.await_screen(|screen| screen.lines().next().unwrap().contains("no answer"));
    terminal.tmux(&["send-keys", "q"]);
    let left = terminal.await_screen(|screen| screen.contains("ended 0"));
    assert!(!left.contains("SLEEP"), "the terminal is as it was:\n{left}");
}
