//! A leg's own peer sends what it should not: replayed, altered, cut, disordered packets, and packets of
//! too many sources. On a secure leg none of it passes and no call ends; on a plain leg the same attacks
//! succeed, which is the positive control.

use abi::Counter;
use serde_json::{Value, json};

use crate::counters::{Counters, Moment};
use crate::far::{Far, Role, Tally};
use crate::gateway::{Gateway, Place};

/// Packets before the attacks: across a rollover of the sequence number (RFC 3711 §3.3.1), so that
/// replays are of both sides of it.
const TALK: u32 = 80;
const FIRST_SEQ: [&str; 2] = ["--first-seq", "65500"];
/// SSRCs that one key serves; the PBX's own is one of them.
const SSRCS: u64 = rtp::srtp::SSRC_MAX as u64;

/// A call from the provider to the PBX, in which the PBX is the attacker.
struct Call {
    gateway: Gateway,
    counters: Counters,
    provider: Far,
    pbx: Far,
    place: Place,
}

impl Call {
    fn place(suite: Option<&str>) -> Self {
        let place = Place::new();
        let (config, role) = match suite {
            Some(suite) => (place.config(), Role::SecurePbx(suite)),
            None => (place.plain_config(), Role::PlainPbx),
        };
        let gateway = Gateway::start(&place, &config);
        let mut provider = Far::start(&place, Role::Provider, &[]);
        let mut pbx = Far::start(&place, role, &FIRST_SEQ);
        provider.call("390612345");
        pbx.wait("answered");
        provider.wait("answered");
        pbx.talk(TALK, 1, 0);
        pbx.wait("talked");
        provider.reach(&json!({"distinct": TALK}));
        let counters = Counters::of(&gateway);
        counters.await_that("the talk", |now| now.relayed() == u64::from(TALK));
        Self { counters, gateway, provider, pbx, place }
    }

    /// Carries out an attack; returns what its sender knows, and the counters when the gateway has
    /// judged every packet of it.
    fn attack(&mut self, how: &str) -> (Value, Tally, Judged) {
        let judged = |now: &Moment| now.dropped() + now.relayed();
        let before = self.counters.now();
        let expected = judged(&before);
        let sent = self.pbx.abuse(how);
        let count = |name: &str| sent[name].as_u64().unwrap_or(0);
        let packets: u64 =
            ["fresh", "stale", "damaged", "sources"].iter().map(|name| count(name)).sum();
        let after = self.counters.await_that(how, |now| judged(now) == expected + packets);
        let judged = Judged { before, after };
        let relayed = judged.grew(Counter::RelayedRtp) + judged.grew(Counter::RelayedRtcp);
        let heard = self.provider.reach(&json!({"datagrams": judged.after.relayed()}));
        assert_eq!(relayed + judged.after.dropped() - judged.before.dropped(), packets);
        (sent, heard, judged)
    }

    /// The call is still there, with the context that it had: what the PBX says next is heard.
    fn goes_on(mut self) {
        let heard = self.provider.tally();
        self.pbx.talk(10, 1, 1);
        self.provider.reach(&json!({"datagrams": heard.datagrams + 11}));
        self.provider.hang_up(&mut self.pbx);
        let cdrs = self.gateway.cdrs_when(1);
        assert_eq!(cdrs[0]["ended_by"], "caller", "{cdrs:#?}");
        assert!(self.gateway.stop());
        drop(self.place);
    }
}

struct Judged {
    before: Moment,
    after: Moment,
}

impl Judged {
    fn grew(&self, counter: Counter) -> u64 {
        self.after.get(counter) - self.before.get(counter)
    }
}

const SUITES: [&str; 2] = ["AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM"];

#[test]
fn abused_srtp_is_not_relayed_and_ends_no_call() {
    for suite in SUITES {
        let mut call = Call::place(Some(suite));

        let (sent, heard, judged) = call.attack("replay");
        assert_eq!(judged.grew(Counter::DropReplay), sent["stale"].as_u64().unwrap(), "{suite}");
        assert_eq!((heard.distinct, heard.repeated), (u64::from(TALK), 0));

        for how in ["flip", "truncate", "garbage"] {
            let (sent, heard, judged) = call.attack(how);
            let fresh = sent["fresh"].as_u64().unwrap_or(0);
            assert_eq!(judged.grew(Counter::RelayedRtp), fresh, "{suite} {how}: {sent}");
            assert_eq!(judged.grew(Counter::RelayedRtcp), 0, "{suite} {how}");
            assert_eq!(heard.repeated, 0);
            assert!(judged.grew(Counter::DropAuthentication) > 100, "{}", judged.after.text());
        }

        let (sent, heard, judged) = call.attack("reorder");
        assert_eq!(judged.grew(Counter::RelayedRtp), sent["fresh"].as_u64().unwrap());
        assert_eq!(heard.repeated, 0);

        let (sent, _, judged) = call.attack("replay_reports");
        assert_eq!(judged.grew(Counter::RelayedRtcp), 1);
        assert_eq!(judged.grew(Counter::DropReplay), sent["stale"].as_u64().unwrap());

        let (sent, _, judged) = call.attack("flood");
        let sources = sent["sources"].as_u64().unwrap();
        assert_eq!(judged.grew(Counter::RelayedRtp), SSRCS - 1, "{suite}");
        assert_eq!(judged.grew(Counter::DropSsrcLimit), sources - (SSRCS - 1));
        call.goes_on();
    }
}

/// Positive control: plain RTP carries no proof, so the same attacks get through the same gateway.
#[test]
fn the_same_abuse_of_plain_rtp_is_relayed() {
    let mut call = Call::place(None);
    let (sent, heard, _) = call.attack("replay");
    assert_eq!(heard.repeated, sent["stale"].as_u64().unwrap());
    for how in ["flip", "truncate", "flood"] {
        let (_, _, judged) = call.attack(how);
        assert!(judged.grew(Counter::RelayedRtp) > 50, "{how}: {}", judged.after.text());
    }
    let (sent, _, judged) = call.attack("replay_reports");
    assert_eq!(judged.grew(Counter::RelayedRtcp), 1 + sent["stale"].as_u64().unwrap());
    call.goes_on();
}
