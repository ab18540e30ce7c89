//! Off-path attackers (RTP bleed and RTP injection): from addresses that nobody signalled they spray
//! every media port with RTP, RTCP and what looks like SRTP, before, during and after a call.

use std::io::Write;
use std::process::Child;

use abi::Counter;
use serde_json::json;

use crate::counters::Counters;
use crate::far::{Far, Role, Tally, peer, spawn};
use crate::gateway::{Gateway, MEDIA_PORTS, Place};
use crate::lines::Lines;
use crate::rtpengine::Rtpengine;

/// One way of finding out where media comes from.
struct Mode {
    /// `nat` of the plain provider's trunk and of the secure PBX's.
    nat: [&'static str; 2],
    /// Whether the attack may begin while the callee rings, and with what was captured from the
    /// provider. Where plain RTP is learned from its first packet (RFC 7362), an attacker can be
    /// that first one, so the attack begins when the parties have been heard; and whoever heard
    /// them may go on for one that falls silent. SRTP proves where it comes from.
    from_ringing: bool,
    /// Whether a leg learns. Then a stranger's packet may be looked at more closely before it is
    /// refused.
    learns: bool,
}

const fn mode(provider: &'static str, pbx: &'static str, from_ringing: bool, learns: bool) -> Mode {
    Mode { nat: [provider, pbx], from_ringing, learns }
}

/// In `AUTO` peers that are where they say are not learned.
const MODES: [Mode; 7] = [
    mode("NO", "NO", true, false),
    mode("FORCE_RPORT", "FORCE_RPORT", true, false),
    mode("AUTO", "AUTO", true, false),
    mode("COMEDIA", "COMEDIA", false, true),
    mode("YES", "YES", false, true),
    mode("NO", "COMEDIA", true, true),
    mode("FORCE_RPORT", "YES", true, true),
];

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// Packets and sender reports of each party in one talk.
const TALK: u32 = 400;
const REPORTS: u32 = 2;
/// Ports of one call: two legs, RTP and RTCP each.
const PORTS: u64 = 4;
const ROUNDS: u32 = 3;

/// The attackers' program with its ends at three strange addresses, and at the provider's own address
/// with another port.
struct Attacker {
    child: Child,
    events: Lines,
}

/// What attackers did so far.
#[derive(Debug, serde::Deserialize)]
struct Sprayed {
    sent: u64,
    /// Packets to each single port, by what they look like.
    rtp: u64,
    rtcp: u64,
    neither: u64,
    /// Those of RTP that were captured from the parties.
    captured: u64,
    /// Packets that came to the attackers.
    attracted: u64,
}

impl Sprayed {
    /// What met a call of two legs since `earlier`, and how much of it can be told from the call's own
    /// media by its source alone.
    fn met_a_call(&self, earlier: &Self) -> (u64, u64) {
        let (rtp, rtcp) = (self.rtp - earlier.rtp, self.rtcp - earlier.rtcp);
        (PORTS * (rtp + rtcp + self.neither - earlier.neither), PORTS / 2 * (rtp + rtcp))
    }
}

impl Attacker {
    fn start(place: &Place, captured: &[&Far]) -> Self {
        let mut command = peer("spray.py");
        for source in place.strangers.into_iter().chain([place.provider]) {
            command.args(["--from", &source.to_string()]);
        }
        command.args(["--to", &place.gateway.to_string()]);
        command.args(["--ports", &format!("{}-{}", MEDIA_PORTS.start(), MEDIA_PORTS.end())]);
        for far in captured {
            command.arg("--replay").arg(&far.journal);
        }
        let (child, mut events) = spawn(command);
        events.wait("ready");
        Self { child, events }
    }

    fn begin(&mut self, rounds: u32) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{rounds}").unwrap();
    }

    fn end(&mut self) -> Sprayed {
        serde_json::from_str(&self.events.wait("sprayed")).unwrap()
    }

    fn spray(&mut self, rounds: u32) -> Sprayed {
        self.begin(rounds);
        self.end()
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Both parties talk for the `nth` time; every packet of theirs arrives.
fn talk(parties: [&mut Far; 2], nth: u32) {
    let [a, b] = parties;
    for far in [&mut *a, &mut *b] {
        far.talk(TALK, 1, REPORTS);
    }
    for far in [a, b] {
        far.wait("talked");
        far.reach(&json!({"distinct": nth * TALK, "reports": nth * REPORTS}));
    }
}

fn assert_nothing_foreign(tally: Tally, talks: u32) {
    let (distinct, reports) = (u64::from(talks * TALK), u64::from(talks * REPORTS));
    let clean = Tally {
        datagrams: distinct + reports,
        distinct,
        reports,
        repeated: 0,
        refused: 0,
        marked: 0,
    };
    assert_eq!(tally, clean, "the parties get what was sent to them, once, and nothing else");
}

#[test]
fn what_attackers_spray_is_not_relayed_and_attracts_nothing() {
    for mode in MODES {
        under_attack(&Place::new(), &mode);
    }
}

/// The attack on a gateway that learns where it is told to, as an insecure provider behind a NAT needs.
pub fn what_strangers_spray_is_not_relayed(place: &Place) {
    under_attack(place, &mode("COMEDIA", "COMEDIA", false, true));
}

fn under_attack(place: &Place, mode: &Mode) {
    let mut config = place.config();
    for (trunk, nat) in [("provider", mode.nat[0]), ("pbx", mode.nat[1])] {
        let name = format!("name = \"{trunk}\"\n");
        config = config.replace(&name, &format!("{name}nat = \"{nat}\"\n"));
    }
    let mut gateway = Gateway::start(place, &config);
    let counters = Counters::of(&gateway);
    let mut provider = Far::start(place, Role::Provider, &[]);
    let mut pbx = Far::start(place, Role::SecurePbx(SUITE), &["--hesitate"]);
    let captured = if mode.from_ringing { &[&provider, &pbx][..] } else { &[&pbx] };
    let mut attacker = Attacker::start(place, captured);

    let before = attacker.spray(1);
    assert!(before.sent > 1000, "{before:?}");
    assert_eq!(counters.now().get(Counter::RxPackets), 0, "no call, no port");

    provider.call("390612345");
    pbx.wait("incoming");
    counters.await_that("the call's ports", |now| now.get(Counter::PortsOpen) == PORTS);
    let ringing = attacker.spray(u32::from(mode.from_ringing));
    let (fired, _) = ringing.met_a_call(&before);
    let moment = counters.await_that("the spray at ringing", |now| now.dropped() == fired);
    assert_eq!(moment.relayed(), 0, "{}", moment.text());
    pbx.tell(&json!({"do": "answer"}));
    pbx.wait("answered");
    provider.wait("answered");

    let mut talks = 0;
    let mut parties = |talks: &mut u32| {
        *talks += 1;
        talk([&mut provider, &mut pbx], *talks);
    };
    if !mode.from_ringing {
        parties(&mut talks);
    }
    attacker.begin(ROUNDS);
    parties(&mut talks);
    attacker.end();
    // From now on the attackers also send what they captured.
    attacker.begin(ROUNDS);
    parties(&mut talks);
    let second = attacker.end();
    assert!(second.captured > 0, "{second:?}");
    let (fired, _) = second.met_a_call(&before);
    let (_, off_path) = second.met_a_call(&ringing);
    let spoken = u64::from(2 * talks * (TALK + REPORTS));
    let moment = counters.await_that("all that was sprayed at open ports", |now| {
        now.dropped() == fired && now.relayed() == spoken
    });
    if !mode.learns {
        assert_eq!(moment.get(Counter::DropOffPath), off_path, "{}", moment.text());
        assert_eq!(moment.get(Counter::DropReplay), 0, "captured, and refused for its source");
    }

    provider.hang_up(&mut pbx);
    assert_eq!(gateway.cdrs_when(1)[0]["code"], 200);
    let after = attacker.spray(1);
    let moment = counters.now();
    assert_eq!(moment.relayed(), spoken, "{}", moment.text());
    assert_eq!(moment.get(Counter::TxPackets), spoken, "nothing went anywhere else");
    assert_eq!(after.attracted, 0, "{after:?}");
    assert_nothing_foreign(provider.tally(), talks);
    assert_nothing_foreign(pbx.tally(), talks);
    assert!(gateway.stop());
}

/// Positive control: the same program succeeds against what people use today, with its settings as they
/// come, be the callee's leg RTP or SRTP.
#[test]
fn the_same_spray_gets_into_calls_of_rtpengine() {
    for (role, profile) in [(Role::PlainPbx, "RTP/AVP"), (Role::SecurePbx(SUITE), "RTP/SAVP")] {
        let place = Place::new();
        let rtpengine = Rtpengine::start(&place);
        let mut provider = Far::start(&place, Role::Provider, &[]);
        let mut pbx = Far::start(&place, role, &[]);
        rtpengine.join(&mut provider, &mut pbx, profile);
        let mut attacker = Attacker::start(&place, &[&provider, &pbx]);
        attacker.begin(ROUNDS);
        for far in [&mut provider, &mut pbx] {
            far.talk(TALK, 1, 0);
        }
        provider.wait("talked");
        pbx.wait("talked");
        let sprayed = attacker.end();
        let injected = provider.tally().marked + pbx.tally().marked;
        assert!(injected > 0, "{profile}: the attackers' packets come out of rtpengine");
        // It sends media of a secure call to them too, but not in every run.
        let bled = sprayed.attracted > 0 || profile == "RTP/SAVP";
        assert!(bled, "rtpengine sends media to the attackers: {sprayed:?}");
    }
}
