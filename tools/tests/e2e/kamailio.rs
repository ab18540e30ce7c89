//! Debian's Kamailio, as whatever its script makes of it.

use std::fs;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::gateway::Place;
use crate::lines::{Lines, PATIENCE};

pub struct Kamailio {
    child: Child,
    pub log: Lines,
}

impl Kamailio {
    /// Runs a script of `tests/peers`, with its `@WORDS@` replaced.
    pub fn run(place: &Place, script: &str, words: &[(&str, &str)]) -> Self {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
        let mut text = fs::read_to_string(template).unwrap();
        for (word, value) in words {
            text = text.replace(word, value);
        }
        let file = place.file(script);
        fs::write(&file, text).unwrap();
        let mut child = Command::new("kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "4", "-Y"])
            .arg(&place.directory)
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kamailio is missing: apt-get install kamailio kamailio-tls-modules");
        let log = Lines::of(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Returns when a question over UDP is answered.
    pub fn await_answer(&mut self, place: &Place, it: Ipv4Addr, port: u16) {
        let socket = UdpSocket::bind((place.stranger, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let me = socket.local_addr().unwrap();
        let options = format!(
            "OPTIONS sip:{it} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKup;rport\r\n\
             From: <sip:a@{0}>;tag=1\r\nTo: <sip:{it}>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            me.ip()
        );
        self.until(|| {
            let _not_yet = socket.send_to(options.as_bytes(), (it, port));
            socket.recv_from(&mut [0; 2_048]).is_ok()
        });
    }

    /// Returns when a connection is accepted.
    pub fn await_connection(&mut self, it: Ipv4Addr, port: u16) {
        self.until(|| {
            let is_up = TcpStream::connect((it, port)).is_ok();
            if !is_up {
                std::thread::sleep(Duration::from_millis(20));
            }
            is_up
        });
    }

    fn until(&mut self, is_up: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_up() {
            let ended = self.child.try_wait().unwrap();
            let waits = ended.is_none() && Instant::now() < until;
            assert!(waits, "Kamailio does not come up: {ended:?}\n{:#?}", self.log.rest());
        }
    }

    /// It ends its own children when it is asked to.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _reaped = self.child.wait();
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.stop();
    }
}
