//! `audio_tones`, `greeting`: what a caller hears before it is refused, or anybody is asked.

use std::fs;
use std::net::UdpSocket;

use bench::media::g711::Law;
use bench::media::tone;

use super::by_hand::{ByHand, MEDIA_PORT, audio};
use super::{config_with, header};
use crate::gateway::{Gateway, Place};
use crate::lines::PATIENCE;
use crate::pbx::Pbx;
use crate::sipp::Sipp;
use crate::stored::{Operator, add_trunks_and_route, start};

/// What the prompt sounds like, in hertz.
const TONE_HZ: u32 = 600;

/// Half a second of a tone as a WAV file.
fn wav() -> Vec<u8> {
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
    wav
}

/// The configuration with the tone as the prompt for unknown numbers.
fn config(place: &Place, tones: &str) -> String {
    let prompts = place.file("prompts");
    fs::create_dir_all(&prompts).unwrap();
    fs::write(prompts.join("unknown-number.wav"), wav()).unwrap();
    let config = config_with(place, "provider", &format!("audio_tones = \"{tones}\""));
    config.replace("flows = 100", &format!("flows = 100\nprompts = \"{}\"", prompts.display()))
}

/// Where the caller's audio arrives.
fn ear(place: &Place) -> UdpSocket {
    let rtp = UdpSocket::bind((place.provider, MEDIA_PORT)).unwrap();
    rtp.set_read_timeout(Some(PATIENCE)).unwrap();
    rtp
}

/// Waits for the whole prompt and asserts that it is the tone.
fn hear(ear: &UdpSocket) {
    let mut samples = Vec::new();
    let mut buffer = [0_u8; 2048];
    while samples.len() < 3_200 {
        let (length, _) = ear.recv_from(&mut buffer).unwrap();
        samples.extend(buffer[12..length].iter().map(|octet| Law::A.decode(*octet)));
    }
    assert!(tone::share_at(TONE_HZ, samples.iter().copied()) > 0.8, "the prompt is heard");
}

#[test]
fn an_unknown_number_is_told_by_early_media_before_its_404() {
    an_unknown_number_is_told_by_early_media(&Place::new());
}

pub fn an_unknown_number_is_told_by_early_media(place: &Place) {
    let mut gateway = Gateway::start(place, &config(place, "ON EARLY MEDIA"));
    let ear = ear(place);
    let mut caller = ByHand::new(place, "99");
    caller.ask("INVITE", &audio(place, 1));
    let progress = caller.receive("SIP/2.0 183");
    assert!(progress.contains("m=audio"), "{progress}");
    hear(&ear);
    let refusal = caller.receive("SIP/2.0 404");
    assert!(header(&refusal, "Reason").unwrap().contains("cause=404"), "{refusal}");
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!(cdr["code"], 404, "{cdr:#}");
    assert!(cdr["answer"].is_null(), "nobody pays: {cdr:#}");
    assert!(gateway.stop());
}

/// The caller hears it before PJSIP is called, and speaks with PJSIP afterwards.
#[test]
fn a_greeting_is_heard_before_pjsip_is_called() {
    let place = Place::new();
    let tones = "audio_tones = \"ON EARLY MEDIA\"";
    let greets = config(&place, "ON EARLY MEDIA")
        .replace(tones, &format!("{tones}\ngreeting = \"welcome\""));
    let prompts = place.file("prompts");
    fs::rename(prompts.join("unknown-number.wav"), prompts.join("welcome.wav")).unwrap();
    let mut gateway = Gateway::start(&place, &greets);
    let mut phones = Pbx::start(&place, &[]);
    let ear = ear(&place);
    let mut caller = ByHand::new(&place, "390612345");
    caller.ask("INVITE", &audio(&place, 1));
    let progress = caller.receive("SIP/2.0 183");
    assert!(progress.contains("m=audio"), "{progress}");
    hear(&ear);
    caller.accepted();
    phones.events.wait("\"media\"");
    phones.hang_up();
    caller.answer_bye();
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!((&cdr["code"], &cdr["ended_by"]), (&200.into(), &"callee".into()));
    assert!(gateway.stop());
}

#[test]
fn the_same_is_told_by_an_answered_call_where_early_media_does_not_pass() {
    let place = Place::new();
    let mut gateway = Gateway::start(&place, &config(&place, "ON ANSWERED CALLS"));
    let ear = ear(&place);
    let mut caller = ByHand::new(&place, "99");
    caller.call();
    hear(&ear);
    caller.answer_bye();
    let cdr = &gateway.cdrs_when(1)[0];
    assert_eq!(cdr["ended_by"], "gateway", "{cdr:#}");
    assert!(gateway.stop());
}

/// Calls SIPp; what the caller is told first, and whether it hears the tone.
fn call_sipp(place: &Place, number: &'static str, is_greeted: bool) {
    let mut callee = Sipp::pbx(place, "silent_callee.xml", 1);
    let ear = ear(place);
    let mut caller = ByHand::new(place, number);
    caller.ask("INVITE", &audio(place, 1));
    if is_greeted {
        caller.receive("SIP/2.0 183");
        hear(&ear);
    }
    let accepted = caller.accepted();
    assert!(accepted.contains("m=audio"), "{accepted}");
    caller.hang_up();
    callee.succeed();
    ear.set_nonblocking(true).unwrap();
    assert_eq!(ear.recv(&mut [0; 2048]).is_ok(), is_greeted, "SIPp itself says nothing");
}

/// Uploaded while the gateway runs; heard from the next call on, whichever process starts anew.
#[test]
fn an_uploaded_greeting_is_heard_until_it_is_removed() {
    let place = Place::new();
    let mut gateway = start(&place, "info");
    let operator = Operator::new(&place);
    add_trunks_and_route(&place, &operator);
    operator.ask(&["trunks", "set", "provider", "audio_tones=ON EARLY MEDIA"]);
    call_sipp(&place, "390600000", false);
    let [file, copy, bad] = ["welcome.wav", "copy.wav", "bad.wav"].map(|name| {
        let file = place.file(name);
        file.to_str().unwrap().to_owned()
    });
    fs::write(&file, wav()).unwrap();
    let told = operator.ask(&["trunks", "greeting", "provider", &file]);
    assert_eq!((&told["milliseconds"], &told["note"]), (&500.into(), &"".into()), "{told}");
    call_sipp(&place, "390600001", true);
    fs::write(&bad, "no audio").unwrap();
    let (code, text) = operator.refused(&["trunks", "greeting", "provider", &bad]);
    assert_eq!(code, 65, "{text}");
    assert!(text.contains("not a WAV file") && text.contains("convert it"), "{text}");
    // The data plane dies, and what it was told with it.
    let pid = gateway.pid_of("dataplane");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    gateway.log.wait("signaling attached");
    call_sipp(&place, "390600002", true);
    assert!(gateway.stop());
    let mut gateway = start(&place, "info");
    call_sipp(&place, "390600003", true);
    operator.ask(&["trunks", "greeting", "provider", "--fetch", &copy]);
    assert_eq!(fs::read(&copy).unwrap(), wav());
    operator.ask(&["trunks", "greeting", "provider", "--remove"]);
    call_sipp(&place, "390600004", false);
    assert_eq!(operator.refused(&["trunks", "greeting", "provider", "--remove"]).0, 66);
    assert!(gateway.stop());
}
