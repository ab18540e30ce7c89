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
