//! Debian's rtpengine-daemon, userspace forwarding, driven by its ng protocol: one offer and one
//! answer for each call, the SDP of both far ends written here.
//!
//! What favours it is set in its favour: no kernel table, no learning of addresses, no logs but
//! errors, as many threads as we have workers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::media::{SrtpKey, suite_name, suite_of_name};

use super::bencode::Value;
use super::{CallOpen, CallPlan, Device, Identity, Launch, LegOpen, LegPlan};
use crate::account::Executor;
use crate::fault::Fault;
use crate::stage::{DEVICE_ADDRESS, Stage, scratch};

pub struct Rtpengine {
    process: Child,
    socket: UdpSocket,
    log: PathBuf,
    version: String,
    tuning: String,
    cookies: u64,
}

impl Rtpengine {
    /// Starts the daemon and waits for its `pong`.
    ///
    /// # Errors
    /// It is not installed, or did not start; then its own words.
    pub fn start(launch: &Launch, stage: &Stage) -> Result<Rtpengine, Fault> {
        let program = &launch.rtpengine;
        if !program.is_file() {
            return Err(Fault::new(
                format!("{} is missing", program.display()),
                "install it (Debian: apt-get install rtpengine-daemon; its service may stay off) \
                 or name it with --rtpengine",
            ));
        }
        let options = options(launch.workers);
        let log = scratch("rtpengine.log");
        let file = fs::File::create(&log).map_err(Fault::io(log.display()))?;
        let process = stage
            .device_command(program)
            .args(&options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(Fault::io("start rtpengine"))?;
        let socket = stage
            .device
            .inside(stage.plan.load_core, || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))?
            .map_err(Fault::io("socket to rtpengine"))?;
        let connected = socket
            .connect((Ipv4Addr::LOCALHOST, NG_PORT))
            .and_then(|()| socket.set_read_timeout(Some(RETRY)));
        let version = crate::stage::version_of(Command::new(program).arg("--version"));
        let tuning = options.join(" ");
        let mut rtpengine = Rtpengine { process, socket, log, version, tuning, cookies: 0 };
        connected.map_err(Fault::io("socket to rtpengine"))?;
        let answer = rtpengine.ask(&Value::dictionary(vec![("command", Value::text("ping"))]))?;
        expect_result(&answer, "pong")?;
        Ok(rtpengine)
    }

    /// Sends a command until it is answered.
    fn ask(&mut self, command: &Value) -> Result<Value, Fault> {
        self.cookies += 1;
        let mut datagram = format!("{} ", self.cookies).into_bytes();
        let cookie = datagram.clone();
        command.encode(&mut datagram);
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 65_536];
        loop {
            // An error may be the "connection refused" of a daemon that does not listen yet.
            let _ = self.socket.send(&datagram);
            while let Ok(len) = self.socket.recv(&mut buffer) {
                let answer = buffer.get(..len).and_then(|answer| answer.strip_prefix(&*cookie));
                if let Some(answer) = answer {
                    return Value::decode(answer)
                        .map_err(|bad| Fault::new(format!("rtpengine's answer: {bad}"), ""));
                }
            }
            let ended = self.process.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(3).collect();
                return Err(Fault::new(
                    format!("rtpengine does not answer: {}", last.join(" / ")),
                    "see whether `rtpengine --version` works",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends one description; the description for the other side.
    fn describe(
        &mut self,
        command: &str,
        call: u32,
        (leg, tag): (&LegPlan, u32),
        to: &LegPlan,
    ) -> Result<String, Fault> {
        let protocol = if to.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let mut entries = vec![
            ("command", Value::text(command)),
            ("call-id", Value::text(&format!("bench-{call}"))),
            ("from-tag", Value::text("a")),
            ("sdp", Value::text(&description(leg, tag))),
            ("ICE", Value::text("remove")),
            ("DTLS", Value::text("off")),
            ("transport-protocol", Value::text(protocol)),
            ("replace", Value::texts(&["origin", "session-connection"])),
            ("flags", Value::texts(&["trust-address"])),
            ("rtcp-mux", Value::texts(&["demux"])),
        ];
        if command == "answer" {
            entries.push(("to-tag", Value::text("b")));
        }
        let answer = self.ask(&Value::dictionary(entries))?;
        expect_result(&answer, "ok")?;
        let sdp = answer.get("sdp").and_then(Value::as_text);
        sdp.map(str::to_owned).ok_or_else(|| Fault::new("rtpengine answered without SDP", ""))
    }
}

impl Device for Rtpengine {
    fn identity(&self) -> Identity {
        Identity {
            name: "rtpengine".into(),
            version: self.version.clone(),
            tuning: self.tuning.clone(),
        }
    }

    fn executor(&self) -> Executor {
        Executor::Process(self.process.id())
    }

    fn open(&mut self, call: &CallPlan) -> Result<CallOpen, Fault> {
        let read = |sdp: &str, leg: &LegPlan| {
            read_description(sdp, leg.key.as_ref()).ok_or_else(|| {
                Fault::new(format!("rtpengine's description is not what was asked for:\n{sdp}"), "")
            })
        };
        let to_b = self.describe("offer", call.index, (&call.a, OFFERED_TAG), &call.b)?;
        // It offers every suite that it knows; the answer names one by its tag (RFC 4568 §5.1.2).
        let (b, tag) = read(&to_b, &call.b)?;
        let to_a = self.describe("answer", call.index, (&call.b, tag), &call.a)?;
        let (a, _) = read(&to_a, &call.a)?;
        Ok(CallOpen { a, b })
    }

    fn close(&mut self, call: u32) -> Result<(), Fault> {
        let answer = self.ask(&Value::dictionary(vec![
            ("command", Value::text("delete")),
            ("call-id", Value::text(&format!("bench-{call}"))),
            ("from-tag", Value::text("a")),
            ("delete-delay", Value::Integer(0)),
        ]))?;
        expect_result(&answer, "ok")
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.log);
    }
}

fn options(workers: usize) -> Vec<String> {
    [
        "--config-file=none",
        "--table=-1",
        "--foreground",
        "--log-stderr",
        "--log-level=3",
        "--endpoint-learning=off",
        "--delete-delay=0",
        "--port-min=20000",
        "--port-max=65535",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        format!("--interface={DEVICE_ADDRESS}"),
        format!("--listen-ng=127.0.0.1:{NG_PORT}"),
        format!("--num-threads={workers}"),
    ])
    .collect()
}

fn expect_result(answer: &Value, wanted: &str) -> Result<(), Fault> {
    if answer.get("result").and_then(Value::as_text) == Some(wanted) {
        return Ok(());
    }
    let reason = answer.get("error-reason").and_then(Value::as_text).unwrap_or("no reason given");
    Err(Fault::new(format!("rtpengine refused: {reason}"), ""))
}

/// The session description of a far end.
fn description(leg: &LegPlan, tag: u32) -> String {
    let (ip, port) = (leg.far.ip(), leg.far.port());
    let (profile, crypto) = match &leg.key {
        None => ("RTP/AVP", String::new()),
        Some(key) => {
            let (suite, inline) = (suite_name(key.suite()), key.inline());
            ("RTP/SAVP", format!("a=crypto:{tag} {suite} inline:{}\r\n", *inline))
        }
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {profile} 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n\
         {crypto}"
    )
}

/// Address, key and the key's tag of a description from rtpengine; `None` when it is not secure as
/// `asked`.
fn read_description(sdp: &str, asked: Option<&SrtpKey>) -> Option<(LegOpen, u32)> {
    let line = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix));
    let ip = line("c=IN IP4 ")?.trim().parse().ok()?;
    let mut media = line("m=audio ")?.split(' ');
    let (port, profile) = (media.next()?.parse().ok()?, media.next()?);
    let device = SocketAddrV4::new(ip, port);
    let Some(asked) = asked else {
        return (profile == "RTP/AVP").then_some((LegOpen { device, key: None }, OFFERED_TAG));
    };
    if profile != "RTP/SAVP" {
        return None;
    }
    let cryptos = sdp.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    let (key, tag) = cryptos.into_iter().find_map(|crypto| {
        let mut words = crypto.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let suite = suite_of_name(words.next()?).filter(|suite| *suite == asked.suite())?;
        let inline = words.next()?.strip_prefix("inline:")?;
        let inline = inline.split('|').next()?;
        // It leaves out the padding that RFC 4648 §4 asks for.
        let padded = format!("{inline}{}", "=".repeat(inline.len().wrapping_neg() % 4));
        Some((SrtpKey::of_inline(suite, &padded)?, tag))
    })?;
    Some((LegOpen { device, key: Some(key) }, tag))
}

/// Of the one key that a far end offers.
const OFFERED_TAG: u32 = 1;
const NG_PORT: u16 = 2223;
/// Between two sendings of a command.
const RETRY: Duration = Duration::from_millis(500);
/// Only a daemon that fails makes the bench wait so long.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn a_description_is_read_as_it_was_asked_for() {
        let call = CallPlan::of(Workload::Cm80Out, 3).unwrap();
        let own = description(&call.b, 1);
        let (read, tag) = read_description(&own, call.b.key.as_ref()).unwrap();
        assert_eq!((read.device, tag), (call.b.far, 1));
        let inline = |key: &Option<SrtpKey>| key.as_ref().unwrap().inline().to_string();
        assert_eq!(inline(&read.key), inline(&call.b.key));
        assert!(read_description(&own, None).is_none(), "secure where plain was asked for");
        let plain = description(&call.a, 1);
        assert!(read_description(&plain, None).unwrap().0.key.is_none());
        assert!(read_description(&plain, call.b.key.as_ref()).is_none(), "plain where not");
    }

    #[test]
    fn the_suite_that_was_asked_for_is_found_among_others_with_its_tag() {
        let call = CallPlan::of(Workload::GcmIn, 0).unwrap();
        let other = SrtpKey::fresh(rtp::srtp::Suite::AesCm128HmacSha1_80).unwrap();
        let both = description(&call.b, 7).replace(
            "a=crypto:7 AEAD",
            &format!(
                "a=crypto:1 F8_128_HMAC_SHA1_80 inline:xx\r\n\
                 a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{}\r\na=crypto:7 AEAD",
                *other.inline()
            ),
        );
        let both = both.replace("=\r\n", "\r\n").replace("=\r\n", "\r\n");
        let (read, tag) = read_description(&both, call.b.key.as_ref()).unwrap();
        assert_eq!(read.key.unwrap().suite(), rtp::srtp::Suite::AeadAes128Gcm);
        assert_eq!(tag, 7, "the answer must name this one");
    }

    #[test]
    fn no_description_breaks_the_reader() {
        let call = CallPlan::of(Workload::BothSecure, 0).unwrap();
        let whole = description(&call.a, 1);
        for len in 0..whole.len() {
            let _ = read_description(&whole[..len], call.a.key.as_ref());
            let _ = read_description(&whole[..len], None);
        }
    }
}
