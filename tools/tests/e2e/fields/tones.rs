//! `audio_tones`: what a caller hears before it is refused.

use std::fs;
use std::net::UdpSocket;

use bench::media::g711::Law;
use bench::media::tone;

use super::{config_with, header};
use crate::gateway::{Gateway, Place};
use crate::lines::PATIENCE;

/// What the prompt sounds like, in hertz.
const TONE_HZ: u32 = 600;

/// The configuration with half a second of a tone as the prompt for unknown numbers.
fn config(place: &Place, tones: &str) -> String {
    let prompts = place.file("prompts");
    fs::create_dir_all(&prompts).unwrap();
    let samples = (0..4000).map(|n| {
        let turn = f64::from(n) * f64::from(TONE_HZ) * std::f64::consts::TAU / 8000.0;
        (turn.sin() * 12_000.0) as i16
    });
    let audio: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let length = u32::try_from(audio.len()).unwrap();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + length).to_le_bytes());
    wav.extend(*b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(*b"data");
    wav.extend(length.to_le_bytes());
    wav.extend(audio);
    fs::write(prompts.join("unknown-number.wav"), wav).unwrap();
    let config = config_with(place, "provider", &format!("audio_tones = \"{tones}\""));
    config.replace("flows = 100", &format!("flows = 100\nprompts = \"{}\"", prompts.display()))
}

struct Caller {
    sip: UdpSocket,
    rtp: UdpSocket,
    invite: String,
}

impl Caller {
    fn new(place: &Place) -> Self {
        let sip = UdpSocket::bind((place.provider, 5070)).unwrap();
        let rtp = UdpSocket::bind((place.provider, 16_000)).unwrap();
        for socket in [&sip, &rtp] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n\
             m=audio 16000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",
            place.provider
        );
        let invite = format!(
            "INVITE sip:99@{gateway}:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {provider}:5070;branch=z9hG4bK-tones\r\n\
             From: <sip:390200000001@{provider}>;tag=e2e\r\n\
             To: <sip:99@{gateway}>\r\nCall-ID: tones@{provider}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:390200000001@{provider}:5070>\r\nMax-Forwards: 70\r\n\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}",
            gateway = place.gateway,
            provider = place.provider,
            length = body.len(),
        );
        sip.send_to(invite.as_bytes(), (place.gateway, 5060)).unwrap();
        Self { sip, rtp, invite }
    }

    fn receive(&self, start: &str) -> String {
        let mut buffer = [0_u8; 4096];
        loop {
            let (length, _) = self.sip.recv_from(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    /// Waits for the whole prompt and asserts that it is the tone.
    fn hear(&self) {
        let mut samples = Vec::new();
        let mut buffer = [0_u8; 2048];
        while samples.len() < 3_200 {
            let (length, _) = self.rtp.recv_from(&mut buffer).unwrap();
            samples.extend(buffer[12..length].iter().map(|octet| Law::A.decode(*octet)));
        }
        assert!(tone::share_at(TONE_HZ, samples.iter().copied()) > 0.8, "the prompt is heard");
    }
}

#[test]
fn an_unknown_number_is_told_by_early_media_before_its_404() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config(&place, "ON EARLY MEDIA"));
    let caller = Caller::new(&place);
    let progress = caller.receive("SIP/2.0 183");
    assert!(progress.contains("m=audio"), "{progress}");
    caller.hear();
    let refusal = caller.receive("SIP/2.0 404");
    assert!(header(&refusal, "Reason").unwrap().contains("cause=404"), "{refusal}");
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!(cdr["code"], 404, "{cdr:#}");
    assert!(cdr["answer"].is_null(), "nobody pays: {cdr:#}");
    assert!(gateway.stop());
}

#[test]
fn the_same_is_told_by_an_answered_call_where_early_media_does_not_pass() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config(&place, "ON ANSWERED CALLS"));
    let caller = Caller::new(&place);
    let accepted = caller.receive("SIP/2.0 200");
    let to = header(&accepted, "To").unwrap();
    let ack = caller.invite.replace("INVITE", "ACK").replace("z9hG4bK-tones", "z9hG4bK-ack");
    let ack = ack.split("Contact:").next().unwrap();
    let ack = ack.replace(&format!("To: <sip:99@{}>", place.gateway), &format!("To: {to}"));
    let ack = format!("{ack}Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
    caller.sip.send_to(ack.as_bytes(), (place.gateway, 5060)).unwrap();
    caller.hear();
    let bye = caller.receive("BYE ");
    let ok: String = ["Via", "From", "To", "Call-ID", "CSeq"]
        .map(|name| format!("{name}: {}\r\n", header(&bye, name).unwrap()))
        .concat();
    let ok = format!("SIP/2.0 200 OK\r\n{ok}Content-Length: 0\r\n\r\n");
    caller.sip.send_to(ok.as_bytes(), (place.gateway, 5060)).unwrap();
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!(cdr["ended_by"], "gateway", "{cdr:#}");
    assert!(gateway.stop());
}
