//! Secrets that are recognised at sight go into a gateway that says all it can, and everything that
//! comes out of it is searched for them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::actions::scrape;
use crate::gateway::{Gateway, Place, trunkline};
use crate::lines::PATIENCE;
use crate::sipp::Sipp;
use crate::stored::{Operator, TOKEN, config};

const PASSWORD: &str = "canary-sip-password-71c2";
const INBOUND: &str = "canary-inbound-password-8e15";
const HOOK: &str = "canary-webhook-secret-c04d";
/// What is no secret: where it is missing, nothing was searched.
const USERNAME: &str = "canary-username-2b9e";

/// What a part of the gateway said, as it comes.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn add(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }

    fn all(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    fn await_that(&self, what: &str) {
        let until = Instant::now() + PATIENCE;
        while !holds(&self.all(), what) {
            assert!(Instant::now() < until, "{what} was never said");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Whether an HTTP request is all there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let mut lengths = head.lines().filter_map(|line| line.strip_prefix("content-length:"));
    lengths.next().is_none_or(|length| body.len() >= length.trim().parse().unwrap())
}

/// The operator's server: takes each event, for as long as the test runs.
fn server(address: Ipv4Addr) -> Heard {
    let (listener, heard) = (TcpListener::bind((address, 8090)).unwrap(), Heard::default());
    let kept = heard.clone();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut part = [0; 65_536];
            let mut text = Vec::new();
            while !is_whole(&text) {
                match socket.read(&mut part) {
                    Ok(length) if length > 0 => text.extend_from_slice(&part[..length]),
                    _ => break,
                }
            }
            kept.add(&text);
            let ok = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            let _gone = socket.write_all(ok);
        }
    });
    heard
}

/// Listens to server-sent events until the gateway ends.
fn listen(place: &Place) -> Heard {
    let mut socket = TcpStream::connect((place.gateway, 8080)).unwrap();
    write!(
        socket,
        "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    )
    .unwrap();
    let heard = Heard::default();
    let kept = heard.clone();
    std::thread::spawn(move || {
        let mut part = [0; 4_096];
        while let Ok(length) = socket.read(&mut part)
            && length > 0
        {
            kept.add(&part[..length]);
        }
    });
    heard.await_that("200 OK");
    heard
}

/// A registrar that challenges everything once, for as long as the test runs; what it was sent.
fn registrar(address: Ipv4Addr) -> Heard {
    let (socket, heard) = (UdpSocket::bind((address, 5070)).unwrap(), Heard::default());
    let kept = heard.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            kept.add(text.as_bytes());
            let wanted = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Contact:"];
            let lines =
                text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
            let same: String = lines.map(|line| format!("{line}\r\n")).collect();
            let answer = match text.contains("\r\nAuthorization:") {
                true => format!("SIP/2.0 200 OK\r\n{same}Expires: 3600\r\n"),
                false => format!(
                    "SIP/2.0 401 Unauthorized\r\n{same}\
                     WWW-Authenticate: Digest realm=\"isp\", nonce=\"n1\", qop=\"auth\"\r\n"
                ),
            };
            let answer = format!("{answer}Content-Length: 0\r\n\r\n");
            let _gone = socket.send_to(answer.as_bytes(), from);
        }
    });
    heard
}

/// Adds the trunk with its secrets, and asks for everything that is shown of it.
fn administrate(place: &Place, operator: &Operator) -> (Vec<u8>, String) {
    let file = |name: &str, secret: &str| {
        fs::write(place.file(name), secret).unwrap();
        format!("@{}", place.file(name).display())
    };
    let password = format!("password={}", file("password", PASSWORD));
    let inbound = format!("inbound_password={}", file("inbound", INBOUND));
    let host = format!("host={}", place.provider);
    let account = [
        "trunks",
        "add",
        "provider",
        &host,
        "port=5070",
        &format!("username={USERNAME}"),
        &password,
    ];
    let mut seen = operator.ask(&account).to_string();
    let host = format!("host={}", place.pbx);
    let proof = ["incoming_call_policy=challenge", "inbound_username=them", &inbound];
    let phones = ["trunks", "add", "phones", &host, "port=5081", "send_keep_alive=false"];
    seen.push_str(&operator.ask(&[&phones[..], &proof[..]].concat()).to_string());
    let minted = operator.ask(&["tokens", "add", "second", "--role", "operator"]);
    let minted = minted["token"].as_str().unwrap().to_owned();
    operator.ask(&["tokens", "rotate-key"]);
    operator.ask(&["trunks", "set", "provider", "max_concurrent_calls=1"]);
    Sipp::call(place, "caller.xml", "u1", "390612345", 1, 500).wait();
    let asked = registrar(place.provider);
    operator.ask(&["trunks", "set", "provider", "register=true"]);
    asked.await_that(&format!("username=\"{USERNAME}\""));
    // Their exit codes say how the trunks are.
    let mut tested = Vec::new();
    for question in [
        &["trunks", "test", "provider"][..],
        &["trunks", "test", "provider", "--last"],
        &["trunks", "status"],
    ] {
        let output = operator.run(question);
        assert!(!output.stdout.is_empty(), "{question:?}: {output:?}");
        tested.extend([output.stdout, output.stderr].concat());
    }
    assert!(holds(&tested, "REGISTER"), "positive control: {}", String::from_utf8_lossy(&tested));
    for question in [
        &["trunks", "list"][..],
        &["trunks", "show", "provider"],
        &["export"],
        &["tokens", "list"],
        &["audit", "list"],
        &["calls", "records"],
        &["calls", "unknown"],
    ] {
        seen.push_str(&operator.ask(question).to_string());
    }
    assert!(seen.contains("max_concurrent_calls"), "positive control: {seen}");
    assert!(seen.contains("[changed]") || seen.contains("password"), "the audit log: {seen}");
    (seen.into_bytes().into_iter().chain(tested).collect(), minted)
}

/// What `trunkline check` says of a file with these secrets.
fn check(place: &Place) -> Vec<u8> {
    let name = "name = \"provider\"\n";
    let secrets = format!("{name}username = \"{USERNAME}\"\npassword = \"{PASSWORD}\"\n");
    let hook =
        format!("\n[webhook]\nurl = \"http://{}:8090/\"\nsecret = \"{HOOK}\"\n", place.stranger);
    let file = place.file("checked.toml");
    fs::write(&file, place.config().replace(name, &secrets) + &hook).unwrap();
    let mut said = Vec::new();
    for json in [&["--json"][..], &[]] {
        let output =
            trunkline().args(["check", "--config"]).arg(&file).args(json).output().unwrap();
        said.extend([output.stdout, output.stderr].concat());
    }
    said
}

#[test]
fn no_secret_is_in_any_output() {
    let place = Place::new();
    let hook = format!(
        "\n[webhook]\nurl = \"http://{}:8090/events\"\nsecret = \"{HOOK}\"\n\
         kinds = [\"status\", \"call\"]\n",
        place.stranger
    );
    let posted = server(place.stranger);
    let config = config(&place, "trace") + &hook;
    let token = [("TRUNKLINE_ADMIN_TOKEN", TOKEN)];
    let mut gateway = Gateway::start_with(&place, &config, &token);
    let events = listen(&place);
    let operator = Operator::new(&place);
    let (seen, minted) = administrate(&place, &operator);
    gateway.cdrs_when(1);
    for heard in [&posted, &events] {
        heard.await_that("390612345");
        heard.await_that("provider");
    }
    let metrics = scrape(&place);
    assert!(metrics.contains("trunkline_trunk_calls{"), "positive control: {metrics}");
    let backup = place.file("backup.db");
    operator.ask(&["backup", backup.to_str().unwrap()]);
    let key = fs::read_to_string(place.file("store.key")).unwrap();
    let key = key.lines().last().unwrap().split_once(' ').unwrap().1.to_owned();
    let tls_key = fs::read_to_string(place.file("gateway.key")).unwrap();
    let tls_key = tls_key.lines().nth(1).unwrap().to_owned();
    assert!(gateway.stop());
    let log = gateway.log.rest().join("\n");
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is at its most verbose");
    let mut outputs = vec![
        ("answers", seen),
        ("metrics", metrics.into_bytes()),
        ("log", log.into_bytes()),
        ("webhook", posted.all()),
        ("events", events.all()),
        ("check", check(&place)),
    ];
    for name in ["backup.db", "store.db", "cdr.jsonl"] {
        outputs.push((name, fs::read(place.file(name)).unwrap()));
    }
    for (name, bytes) in &outputs {
        for canary in [PASSWORD, INBOUND, HOOK, TOKEN, &minted, &key, &tls_key] {
            assert!(!holds(bytes, canary), "{canary} is in {name}");
        }
    }
    for (name, bytes) in &outputs {
        // What is counted, told and noted names trunks, and not what is in them.
        let said = if ["metrics", "log", "webhook", "events", "cdr.jsonl", "check"].contains(name) {
            "provider"
        } else {
            USERNAME
        };
        assert!(holds(bytes, said), "positive control: {said} is in {name}");
    }
    let file = fs::read(place.file("password")).unwrap();
    assert!(holds(&file, PASSWORD), "positive control: a secret is found where it is");
}

/// Ends with the test, whatever becomes of that.
struct Running(Child);

impl Running {
    /// Who owns its files in /proc: root, where the kernel writes no core of it (proc(5)).
    fn owner(&self) -> u32 {
        fs::metadata(format!("/proc/{}/maps", self.0.id())).unwrap().uid()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _reaped = self.0.wait();
    }
}

/// Passwords and keys are in the memory of each process.
#[test]
fn no_process_leaves_a_core() {
    let place = Place::new();
    fs::write(place.file("gateway.toml"), place.config()).unwrap();
    let user = match rustix::process::geteuid().as_raw() {
        0 => NOBODY,
        myself => myself,
    };
    for name in ["gateway.toml", "gateway.key", "gateway.pem", "ca.pem", "."] {
        if user == NOBODY {
            std::os::unix::fs::chown(place.file(name), Some(user), Some(user)).unwrap();
        }
    }
    let file = place.file("gateway.toml").display().to_string();
    for process in ["up", "signaling", "dataplane", "control"] {
        let mut command = match process {
            "control" => Command::new("cat"),
            _ => trunkline(),
        };
        if process != "control" {
            command.args([process, "--config", &file]);
        }
        if user == NOBODY {
            command.uid(NOBODY).gid(NOBODY);
        }
        let command = command.current_dir(&place.directory);
        let child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut running = Running(child);
        if process == "control" {
            assert_eq!(running.owner(), user, "positive control: its core would be written");
            continue;
        }
        let until = Instant::now() + PATIENCE;
        while running.owner() != 0 {
            assert!(running.0.try_wait().unwrap().is_none(), "{process} ended");
            assert!(Instant::now() < until, "{process} can leave a core");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The user that owns nothing.
const NOBODY: u32 = 65_534;
