//! Bodies of fuzz targets. Each takes any bytes, drives one entry of the crate with them and
//! asserts what must hold whatever they are; ordinary tests run them over generated input.

use std::net::{IpAddr, Ipv4Addr};

use crate::limits::MKI_BYTES_MAX;
use crate::profile::Profile;
use crate::{
    Audio, Crypto, Description, Events, Key, Local, Mki, Policy, Security, Suite, read_answer,
    read_fax_answer, read_fax_offer, read_offer, write_answer, write_fax_answer, write_fax_offer,
    write_offer,
};

/// Any bytes as an offer: read under a plain and a secure policy, passed on, answered, and the
/// answer read back.
pub fn offer(data: &[u8]) {
    let Ok(description) = Description::parse(data) else { return };
    for policy in policies() {
        let Ok(audio) = read_offer(&description, &policy) else { continue };
        check_audio(&audio, &policy);
        let keys = keys(OURS);
        let local = local(&keys);
        for far_policy in policies() {
            if let Ok(body) = write_offer(Some(&audio), &far_policy, &local) {
                assert!(Description::parse(&body).is_ok(), "our own offer must parse");
            }
        }
        check_answer(&description, &audio, &policy);
    }
    fax(&description);
}

/// Fax of any description: passed on and answered, what is said reads as it was said.
fn fax(description: &Description) {
    for policy in policies() {
        let Ok(fax) = read_fax_offer(description, &policy) else { continue };
        assert!(!policy.security.encrypts(), "fax is never offered where media is encrypted");
        assert!(fax.address.port() != 0 && !fax.address.ip().is_multicast());
        let local = local(&[]);
        let passed = write_fax_offer(&fax, &policy, &local).map(|body| Description::parse(&body));
        let answered = write_fax_answer(description, &fax, &fax, &policy, &local);
        let answered = answered.map(|body| Description::parse(&body));
        let written = (passed, answered);
        assert!(matches!(written, (Ok(Ok(_)), Ok(Ok(_)))), "our own descriptions must parse");
        let (Ok(Ok(passed)), Ok(Ok(answered))) = written else { return };
        let again = read_fax_offer(&passed, &policy);
        assert_eq!(again.map(|again| again.parameters).as_ref(), Ok(&fax.parameters));
        assert_eq!(answered.media_lines(), description.media_lines());
        let read = read_fax_answer(&answered, description);
        assert_eq!(read.map(|read| read.parameters).as_ref(), Ok(&fax.parameters));
        let live = answered.media().iter().filter(|line| line.port != 0).count();
        assert_eq!(live, 1, "exactly the fax line is accepted");
    }
}

/// Any bytes as the answer to an offer of ours; what it agrees to is in both.
pub fn answer(data: &[u8]) {
    let Ok(answer) = Description::parse(data) else { return };
    if answer.media_lines() == 0 {
        return;
    }
    for policy in policies() {
        let keys = keys(OURS);
        let Ok(body) = write_offer(None, &policy, &local(&keys)) else { continue };
        let Ok(ours) = Description::parse(&body) else { continue };
        let Ok(audio) = read_answer(&answer, &ours, &policy) else { continue };
        check_audio(&audio, &policy);
        assert!(audio.cryptos.len() <= 1, "an answer chooses one key");
        let Ok(asked) = read_offer(&ours, &policy) else { continue };
        let agreed = asked.agreed(&audio);
        assert!(agreed.iter().all(|(o, a)| o.is_same_as(a)), "a format answers its like");
    }
}

/// Any text as the value of `a=crypto`: what parses can be written and parses to the same key.
pub fn crypto(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(crypto) = Crypto::parse(text) else { return };
    let (suite, key) = (crypto.suite, &crypto.key);
    assert_eq!((key.key().len(), key.salt().len()), (suite.key_len(), suite.salt_len()));
    let again = Crypto::parse(&Crypto::write(crypto.tag, key));
    let plain = Crypto { lifetime: None, mki: None, ..crypto };
    assert_eq!(again.as_ref(), Ok(&plain), "what we write must read as written");
}

fn check_audio(audio: &Audio, policy: &Policy) {
    let secure = policy.security.encrypts();
    assert_eq!(audio.secure, secure, "the profile must be that of the policy");
    assert_eq!(audio.cryptos.is_empty(), !secure, "keys exactly where media is secure");
    let short = |mki: Mki| (1..=MKI_BYTES_MAX).contains(&mki.length);
    assert!(audio.cryptos.iter().all(|crypto| crypto.mki.is_none_or(short)), "MKIs are short");
    assert!(audio.formats.iter().any(|format| !format.is_companion()), "at least one codec");
    assert!(!audio.rtp.ip().is_multicast() && !audio.rtcp.ip().is_multicast());
    assert!(audio.rtp.port() != 0 && audio.rtcp.port() != 0);
}

fn check_answer(description: &Description, audio: &Audio, policy: &Policy) {
    let all = keys(OURS);
    let suite = audio.cryptos.first().map(|crypto| crypto.suite);
    let chosen: Vec<_> = all.into_iter().filter(|key| Some(key.suite()) == suite).collect();
    let Ok(body) = write_answer(description, audio, audio, policy, &local(&chosen)) else {
        // The input may have guessed our fixed key; then refusing is right.
        assert!(audio.cryptos.first().is_some_and(|crypto| chosen.contains(&crypto.key)));
        return;
    };
    let answer = Description::parse(&body);
    assert!(answer.is_ok(), "our own answer must parse");
    let Ok(answer) = answer else { return };
    assert_eq!(answer.media_lines(), description.media_lines());
    for (offered, answered) in description.media().iter().zip(answer.media()) {
        let other = offered.potential(policy.security.profile()).filter(|_| answered.port != 0);
        let proto = other.map_or(&offered.proto, |potential| &potential.proto);
        assert_eq!(proto, &answered.proto, "the protocol must be that of the offer");
        assert_eq!(offered.kind, answered.kind, "the kind must be that of the offer");
        let is_safe = offered.profile() != Profile::Secure || answered.profile() == Profile::Secure;
        assert!(is_safe, "RTP/SAVP must not be answered with RTP/AVP");
        for number in answered.formats_text.split(' ') {
            let mut words = offered.formats_text.split(' ');
            assert!(words.any(|word| word.parse::<u8>().ok() == number.parse().ok()));
        }
    }
    let live = answer.media().iter().filter(|line| line.port != 0).count();
    assert_eq!(live, 1, "exactly the chosen line is accepted");
    assert!(read_offer(&answer, policy).is_ok(), "the other side must be able to use our answer");
}

fn policies() -> [Policy; 3] {
    let suites = Suite::ALL.to_vec();
    let best = Security::BestEffort { suites: suites.clone(), unoffered: Vec::new() };
    [Security::Plain, Security::secure(suites), best].map(|security| Policy {
        security,
        allow: Vec::new(),
        disallow: Vec::new(),
        disallow_all: false,
        rtcp_mux: true,
        events: Events::Own,
    })
}

fn keys(fill: u8) -> Vec<Key> {
    let key = |suite: Suite| Key::new(suite, &vec![fill; suite.key_len() + suite.salt_len()]);
    Suite::ALL.into_iter().filter_map(|suite| key(suite).ok()).collect()
}

fn local(keys: &[Key]) -> Local<'_> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Local { address, rtp_port: 4000, rtcp_port: 4001, origin_id: 1, origin_version: 1, keys }
}

/// Fills our own keys.
const OURS: u8 = 0x5a;
