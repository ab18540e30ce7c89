//! baresip as the secure phone: TLS, SDES, SRTP mandatory (Debian `baresip-core`).

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::media::g711::Law;
use bench::media::tone::Tone;

use crate::gateway::Place;
use crate::lines::{Lines, PATIENCE};
use crate::pbx::{MEDIA_PORT, PORT, TONE_HZ};

/// baresip answers calls to the user of its account alone.
const CALLED: &str = "390612345";

pub struct Baresip {
    child: Child,
    pub log: Lines,
    directory: PathBuf,
}

impl Baresip {
    /// Answers every call, plays a tone and records what it hears.
    pub fn start(place: &Place) -> Self {
        let account = format!(
            "<sip:{CALLED}@{};transport=tls>;regint=0;mediaenc=srtp-mand;answermode=auto;\
             audio_codecs=PCMA/8000/1\n",
            place.pbx
        );
        // For TLS baresip listens one port above the one for UDP and TCP.
        Self::start_as(place, &account, PORT - 1)
    }

    /// The same by TCP, with plain media.
    pub fn start_over_tcp(place: &Place) -> Self {
        let account = format!(
            "<sip:{CALLED}@{};transport=tcp>;regint=0;answermode=auto;audio_codecs=PCMA/8000/1\n",
            place.pbx
        );
        Self::start_as(place, &account, PORT)
    }

    fn start_as(place: &Place, account: &str, port: u16) -> Self {
        let directory = place.file("baresip");
        fs::create_dir(&directory).unwrap();
        let key = fs::read_to_string(place.file("pbx.key")).unwrap();
        let certificate = fs::read_to_string(place.file("pbx.pem")).unwrap();
        let file = |name: &str, content: &[u8]| fs::write(directory.join(name), content).unwrap();
        file("identity.pem", (key + &certificate).as_bytes());
        file("tone.wav", &wav(30));
        file("config", config(place, port).as_bytes());
        file("contacts", b"");
        file("accounts", account.as_bytes());
        let mut child = Command::new("baresip")
            .arg("-f")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("baresip is missing: apt-get install baresip-core");
        let mut log = Lines::of(child.stdout.take().unwrap());
        log.wait("baresip is ready");
        Self { child, log, directory }
    }

    pub fn call(&mut self, place: &Place, number: &str) {
        self.type_in(&format!("/dial sip:{number}@{}:5061", place.gateway));
    }

    /// It takes the transport of its account.
    pub fn call_over_tcp(&mut self, place: &Place, number: &str) {
        self.type_in(&format!("/dial sip:{number}@{}:5060", place.gateway));
    }

    pub fn hang_up(&mut self) {
        self.type_in("/hangup");
    }

    fn type_in(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Waits until two seconds of audio have arrived.
    pub fn hear_for_a_while(&self) {
        let until = Instant::now() + PATIENCE;
        while self.recorded().len() < 2 * 16_000 {
            assert!(Instant::now() < until, "baresip hears nothing: {:?}", self.log.seen);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it, and returns what it heard: linear samples at 8 kHz.
    pub fn heard(mut self) -> Vec<i16> {
        self.type_in("/quit");
        self.child.wait().unwrap();
        let recorded = self.recorded();
        let (_, samples) = recorded.split_at_checked(44).unwrap_or_default();
        samples.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
    }

    /// The file that the filter `sndfile` writes of decoded audio.
    fn recorded(&self) -> Vec<u8> {
        let mut files = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path());
        let decoded = files.find(|path| path.to_string_lossy().ends_with("-dec.wav"));
        decoded.and_then(|path| fs::read(path).ok()).unwrap_or_default()
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn config(place: &Place, port: u16) -> String {
    let directory = place.file("baresip").display().to_string();
    let ca = place.file("ca.pem").display().to_string();
    let modules = ["g711", "srtp", "aubridge", "aufile", "sndfile", "stdio"];
    let modules: String = modules.iter().map(|m| format!("module {m}.so\n")).collect();
    format!(
        "net_interface {address}\nsip_listen {address}:{port}\n\
         sip_certificate {directory}/identity.pem\nsip_cafile {ca}\n\
         audio_source aufile,{directory}/tone.wav\naudio_player aubridge,nowhere\n\
         audio_alert aubridge,nowhere\nrtp_ports {MEDIA_PORT}-{last}\n\
         module_path /usr/lib/baresip/modules\n{modules}snd_path {directory}\n\
         module_tmp account.so\nmodule_app menu.so\n",
        address = place.pbx,
        last = MEDIA_PORT + 10,
    )
}

/// The tone as a file: 8 kHz, mono, 16 bits.
fn wav(seconds: u32) -> Vec<u8> {
    let mut second = [0; 8000];
    Tone::new(TONE_HZ, Law::A).fill(0, &mut second);
    let audio: Vec<u8> =
        second.iter().flat_map(|octet| Law::A.decode(*octet).to_le_bytes()).collect();
    let octets = seconds * 16_000;
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + octets).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend([1, 0, 1, 0]);
    file.extend(8000_u32.to_le_bytes());
    file.extend(16_000_u32.to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(octets.to_le_bytes());
    (0..seconds).for_each(|_| file.extend(&audio));
    file
}
