//! ffmpeg as a secure media end: its own SRTP, its own G.711.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::gateway::{Place, udp_ports};
use crate::lines::PATIENCE;
use crate::pbx::{MEDIA_PORT, TONE_HZ};

/// The suites that ffmpeg has, each with ffmpeg's own name for it. By the name of SDES it would put the
/// short tag on SRTCP too, which is to have the long one (RFC 4568 §6.2).
pub const SUITES: [(&str, &str); 2] = [
    ("AES_CM_128_HMAC_SHA1_80", "SRTP_AES128_CM_HMAC_SHA1_80"),
    ("AES_CM_128_HMAC_SHA1_32", "SRTP_AES128_CM_HMAC_SHA1_32"),
];
/// What [`send`] surely sends.
pub const PACKETS: u32 = 60;

pub struct Receiver {
    child: Child,
    audio: PathBuf,
}

impl Receiver {
    /// Waits for SRTP under the gateway's `key` at the PBX's media port.
    pub fn start(place: &Place, suite: &str, key: &str) -> Self {
        let (description, audio) = (place.file("receive.sdp"), place.file("received.s16"));
        let sdp = format!(
            "v=0\no=- 1 1 IN IP4 {0}\ns=-\nc=IN IP4 {0}\nt=0 0\n\
             m=audio {MEDIA_PORT} RTP/SAVP 8\na=rtpmap:8 PCMA/8000\na=crypto:1 {suite} inline:{key}\n",
            place.pbx
        );
        fs::write(&description, sdp).unwrap();
        let child = ffmpeg()
            .args(["-protocol_whitelist", "file,udp,rtp,srtp,crypto"])
            .args(["-analyzeduration", "0", "-i"])
            .arg(&description)
            .args(["-t", "1.2", "-f", "s16le"])
            .arg(&audio)
            .spawn()
            .expect("ffmpeg is missing: apt-get install ffmpeg");
        let until = Instant::now() + PATIENCE;
        while !udp_ports(Ipv4Addr::UNSPECIFIED).contains(&MEDIA_PORT) {
            assert!(Instant::now() < until, "ffmpeg does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, audio }
    }

    /// Waits until it has heard enough, and returns it: linear samples at 8 kHz.
    pub fn heard(mut self) -> Vec<i16> {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let octets = fs::read(&self.audio).unwrap_or_default();
        octets.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Sends 1.4 seconds of the PBX's tone from its media port, under the PBX's `key`.
pub fn send(place: &Place, suite: &str, key: &str, port: u16) {
    let tone = format!("sine=frequency={TONE_HZ}:sample_rate=8000:samples_per_frame=160");
    let to = format!(
        "srtp://{}:{port}?localaddr={}&localrtpport={MEDIA_PORT}&pkt_size=172",
        place.gateway, place.pbx
    );
    let status = ffmpeg()
        .args(["-re", "-f", "lavfi", "-i", &tone, "-t", "1.4"])
        .args(["-c:a", "pcm_alaw", "-payload_type", "8", "-f", "rtp"])
        .args(["-srtp_out_suite", suite, "-srtp_out_params", key, &to])
        .status()
        .expect("ffmpeg is missing: apt-get install ffmpeg");
    assert!(status.success(), "ffmpeg sends in {suite}: {status}");
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]).stdin(Stdio::null());
    // It prints the description of what it sends.
    command.stdout(Stdio::null());
    command
}
