//! Debian's rtpengine as the positive control of media attacks: in userspace, as it comes.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use crate::far::Far;
use crate::gateway::{MEDIA_PORTS, Place};
use crate::lines::{Lines, PATIENCE};

pub struct Rtpengine {
    child: Child,
    control: UdpSocket,
}

impl Rtpengine {
    /// Takes the gateway's address and media ports.
    pub fn start(place: &Place) -> Self {
        let control = UdpSocket::bind((place.provider, 0)).unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut child = Command::new("rtpengine")
            .args(["--config-file=none", "--foreground", "--log-stderr", "--table=-1"])
            .arg(format!("--interface={}", place.gateway))
            .arg(format!("--listen-ng={}:2223", place.gateway))
            .arg(format!("--port-min={}", MEDIA_PORTS.start()))
            .arg(format!("--port-max={}", MEDIA_PORTS.end()))
            .args(["--num-threads=1", "--log-level=6"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rtpengine is missing: apt-get install rtpengine-daemon");
        Lines::of(child.stderr.take().unwrap()).wait("Startup complete");
        control.connect((place.gateway, 2223)).unwrap();
        Self { child, control }
    }

    /// Puts itself between two ends; `profile` is that of the callee.
    pub fn join(&self, caller: &mut Far, callee: &mut Far, profile: &str) {
        let call = [("call-id", "control"), ("from-tag", "caller"), ("to-tag", "callee")];
        let offer = caller.describe(None);
        let to_callee = [("transport-protocol", profile), ("sdp", &offer)];
        let offered = self.ask("offer", call[..2].iter().chain(&to_callee));
        let answer = callee.describe(Some(&offered));
        callee.agree(&offered);
        caller.agree(&self.ask("answer", call.iter().chain(&[("sdp", answer.as_str())])));
    }

    /// One request of the ng protocol, a cookie and a dictionary in bencode; returns the description
    /// in the reply.
    fn ask<'a>(
        &self,
        command: &str,
        entries: impl Iterator<Item = &'a (&'a str, &'a str)>,
    ) -> String {
        let text = |text: &str| format!("{}:{text}", text.len());
        let entries: String = entries.map(|(key, value)| text(key) + &text(value)).collect();
        // A cookie that was seen is answered as before; each command is given once.
        let request = format!("{command} d7:command{}{entries}e", text(command));
        self.control.send(request.as_bytes()).unwrap();
        let mut buffer = [0; 4096];
        let length = self.control.recv(&mut buffer).unwrap();
        let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let described = reply.split_once("3:sdp").and_then(|(_, rest)| rest.split_once(':'));
        let (octets, rest) = described.unwrap_or_else(|| panic!("rtpengine: {reply}"));
        rest[..octets.parse().unwrap()].to_owned()
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
