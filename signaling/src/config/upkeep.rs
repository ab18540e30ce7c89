//! Fields of a trunk about the time around and between messages: session timers, keeping its way open,
//! address repair, announcements.

use std::time::Duration;

use abi::PromptName;
use sip::endpoint::Transport;

use super::media::Media;
use super::section::{At, Section};
use super::sections::Sip;
use super::{dscp, network};
use crate::media::Place;
use crate::trunk::hold::HoldStyle;
use crate::trunk::manner::Manner;
use crate::trunk::refer::ReferPolicy;
use crate::trunk::reliable::Reliability;
use crate::trunk::timer::{INTERVAL_S, INTERVAL_S_MAX, MIN_S, TimerPolicy, TimerRules};
use crate::trunk::tones::{AudioTones, Greeting, Spoken};
use crate::trunk::{DirectMedia, Host, Nat, SecureRtp};

pub(super) fn audio_tones(section: &mut Section<'_, '_>) -> AudioTones {
    let words = ["NO AUDIO TONES", "none", "ON EARLY MEDIA", "ON ANSWERED CALLS"];
    match section.word("audio_tones", &words).map(|word| word.value) {
        Some(2) => AudioTones::OnEarlyMedia,
        Some(3) => AudioTones::OnAnsweredCalls,
        _ => AudioTones::None,
    }
}

/// `greeting`, the name of a prompt.
pub(super) fn greeting(section: &mut Section<'_, '_>, tones: AudioTones) -> Option<Greeting> {
    let name = section.string("greeting")?.value;
    let prompt = PromptName::new(&name);
    if prompt.is_none() {
        let problem = format!("\"{name}\" cannot be the name of a prompt");
        let remedy = "write the name of a file in [media] prompts, without .wav";
        section.error("greeting", problem, remedy);
    }
    if tones == AudioTones::None {
        let remedy = "write audio_tones = \"ON EARLY MEDIA\" or \"ON ANSWERED CALLS\"";
        section.error("greeting", "audio_tones says that nothing is said to callers", remedy);
    }
    prompt.map(|prompt| Greeting { what: Spoken::Prompt(prompt), tones })
}

/// `direct_media` (rule 6 of the trunk's save-time rules: never with encryption, whose keys are ours).
pub(super) fn direct_media(
    section: &mut Section<'_, '_>,
    srtp: SecureRtp,
    nat: Nat,
) -> DirectMedia {
    let wanted = match section.word("direct_media", &["no", "yes", "nonat"]) {
        Some(At { value: 1, .. }) => DirectMedia::Yes,
        Some(At { value: 2, .. }) => DirectMedia::NoNat,
        _ => return DirectMedia::No,
    };
    if srtp != SecureRtp::Off {
        let problem = "media that is encrypted passes through us: the keys of each side are ours";
        section.error(
            "direct_media",
            problem,
            "write direct_media = \"no\", or encryption = false",
        );
    } else if nat != Nat::No {
        let problem = "it takes no effect: where addresses are learned, media passes through us";
        section.warn("direct_media", problem, "write nat = \"NO\"");
    }
    wanted
}

/// How we behave toward the trunk; `is_kept` says whether its way is kept open without being asked for.
pub(super) fn manner(
    section: &mut Section<'_, '_>,
    transport: Transport,
    is_kept: bool,
    (sip, media): (&Sip, &Media),
) -> Manner {
    let keepalive = keepalive(section, transport, is_kept);
    Manner {
        keepalive,
        rtp_keepalive: rtp_keepalive(section, keepalive.is_some()),
        signalling_dscp: dscp::code_point(section, "signalling_dscp"),
        media_place: Place {
            network: network::of_trunk(section, media),
            dscp: dscp::code_point(section, "media_dscp"),
        },
        forces_offer: forces_offer(section),
        hold_style: hold_style(section),
        subscriptions: match section.word("create_subscriptions", &["DEFAULT", "ALLOW", "DENY"]) {
            Some(At { value: 1, .. }) => true,
            Some(At { value: 2, .. }) => false,
            _ => sip.subscriptions,
        },
        update: section.boolean("update").is_none_or(|flag| flag.value),
        refer: refer(section),
    }
}

/// How often the trunk's way is kept open; `needed` says whether it is without being asked for.
fn keepalive(
    section: &mut Section<'_, '_>,
    transport: Transport,
    needed: bool,
) -> Option<Duration> {
    let is_on = section.boolean("keepalive").map_or(needed, |flag| flag.value);
    let seconds = section.integer("keepalive_interval", 5..3_601).map(|given| given.value);
    let default = match transport {
        Transport::Udp => KEEPALIVE_UDP,
        Transport::Tcp | Transport::Tls => KEEPALIVE_CONNECTION,
    };
    is_on.then(|| seconds.map_or(default, Duration::from_secs))
}

/// `rtp_keepalive_interval`, on where the trunk's way is kept open at all.
fn rtp_keepalive(section: &mut Section<'_, '_>, is_on: bool) -> Option<Duration> {
    let given = section.integer("rtp_keepalive_interval", 1..RTP_KEEPALIVE_S_MAX + 1);
    if given.is_some() && !is_on {
        let remedy = "write keepalive = true, or remove it";
        section.error("rtp_keepalive_interval", "keepalive is off", remedy);
    }
    is_on.then(|| given.map_or(RTP_KEEPALIVE, |given| Duration::from_secs(given.value)))
}

/// `sip_alg` and the address that it writes; TLS cannot be repaired on the way, and is not here.
pub(super) fn external_address(
    section: &mut Section<'_, '_>,
    transport: Transport,
) -> Option<Host> {
    let is_on = section.boolean("sip_alg").is_some_and(|flag| flag.value);
    let text = section.string("external_address").map(|text| text.value);
    let host = text.as_deref().and_then(Host::parse);
    match (is_on, &text, &host) {
        (true, None, _) => {
            let remedy = "set external_address to the address that the peer knows us by";
            section.error("sip_alg", "nothing says which address to write", remedy);
        }
        (_, Some(text), None) => {
            let problem = format!("\"{text}\" is neither an address nor a host name");
            section.error("external_address", problem, "write the address without a port");
        }
        (false, Some(_), _) => {
            let remedy = "write sip_alg = true, or remove it";
            section.error("external_address", "nothing writes this address", remedy);
        }
        _ => {}
    }
    host.filter(|_| is_on && transport != Transport::Tls)
}

/// `offer_mode`.
fn forces_offer(section: &mut Section<'_, '_>) -> bool {
    let words = ["as_is", "force_early"];
    section.word("offer_mode", &words).is_some_and(|word| word.value == 1)
}

/// `hold_style`.
fn hold_style(section: &mut Section<'_, '_>) -> HoldStyle {
    match section.word("hold_style", &["as_is", "sendonly", "inactive"]).map(|word| word.value) {
        Some(1) => HoldStyle::SendOnly,
        Some(2) => HoldStyle::Inactive,
        _ => HoldStyle::AsIs,
    }
}

/// `refer`.
fn refer(section: &mut Section<'_, '_>) -> ReferPolicy {
    match section.word("refer", &["reject", "pass", "local"]).map(|word| word.value) {
        Some(1) => ReferPolicy::Pass,
        Some(2) => ReferPolicy::Local,
        _ => ReferPolicy::Reject,
    }
}

/// Whether provisional responses are acknowledged (RFC 3262).
pub(super) fn reliability(section: &mut Section<'_, '_>) -> Reliability {
    match section.word("100rel", &["supported", "required", "off"]).map(|word| word.value) {
        Some(1) => Reliability::Required,
        Some(2) => Reliability::Off,
        _ => Reliability::Supported,
    }
}

/// Session timers (RFC 4028).
pub(super) fn timer(section: &mut Section<'_, '_>) -> TimerRules {
    let policy = match section.word("session_timer", &["accept", "require", "refuse"]) {
        Some(At { value: 1, .. }) => TimerPolicy::Require,
        Some(At { value: 2, .. }) => TimerPolicy::Refuse,
        _ => TimerPolicy::Accept,
    };
    let range = u64::from(MIN_S)..u64::from(INTERVAL_S_MAX) + 1;
    let mut seconds = |key, default| {
        let given = section.integer(key, range.clone());
        given.and_then(|given| u32::try_from(given.value).ok()).unwrap_or(default)
    };
    let interval_s = seconds("session_expires", INTERVAL_S);
    let min_s = seconds("session_min_se", MIN_S);
    if interval_s < min_s {
        let problem = format!("{interval_s} s is less than session_min_se = {min_s}");
        section.error("session_expires", problem, "make it as long at least");
    }
    TimerRules { policy, interval_s, min_s }
}

/// RFC 6263 §8: bindings of UDP last 30 s or more, and a lost packet must not end one.
const RTP_KEEPALIVE: Duration = Duration::from_secs(15);
/// As `keepalive_interval`; the data plane takes no longer one.
const RTP_KEEPALIVE_S_MAX: u64 = 3_600;
/// RFC 5626 §4.4.2 has STUN as often on datagrams.
const KEEPALIVE_UDP: Duration = Duration::from_secs(25);
/// RFC 5626 §4.4.1: within two minutes.
const KEEPALIVE_CONNECTION: Duration = Duration::from_secs(100);
