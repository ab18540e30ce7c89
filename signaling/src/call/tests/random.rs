//! Thousands of calls with random ends, many at a time, from a seed; peers that drop off and a data
//! plane that refuses and pauses. Nothing may leak and each attempt leaves one CDR.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use abi::Reason;
use serde_json::Value;
use sip::endpoint::{ClientId, DialogId, ServerId};
use sip::wire::{Method, Request};

use super::hunting;
use super::rig::{CARRIER, Carrier, PBX, Pbx, Rig, Second, Third, Who};

const CALLS: usize = 3_000;
/// Calls a second.
const PACE: u64 = 10;
/// Calls a second that are more than the trunk may have.
const PACE_HIGH: u64 = 40;
/// What a callee may do that is asked alone; beyond that come answers that move a hunt on.
const WAYS_ALONE: u64 = 12;

/// Something that a test does to a rig at a moment.
enum Deed {
    Place(Who),
    Cancel(Who, ClientId),
    Answer(Who, ServerId, u16, Option<String>),
    Reinvite(Who, DialogId),
    HangUp(Who, DialogId),
    StopPlane,
    StartPlane,
    Refuse(Option<Reason>, Option<Reason>),
    Cut(Option<Who>),
    Disconnect,
    Silence,
}

struct Storm {
    rig: Rig,
    ways: u64,
    dice: Dice,
    deeds: BTreeMap<(Instant, usize), Deed>,
    planned: usize,
    placed: usize,
    seen: BTreeSet<(Who, DialogId)>,
}

#[test]
fn a_storm_of_calls_leaves_nothing() {
    for seed in [1, 2] {
        let rig = Rig::with(&format!("storm-{seed}"), "", "", "ring_limit = 15");
        let mut storm = Storm::new(seed, rig, CALLS, PACE, WAYS_ALONE);
        storm.blow();
        let Storm { mut rig, placed, .. } = storm;
        rig.cut = None;
        rig.plane.stopped = false;
        rig.seconds(200);
        let ends = [Carrier, Pbx].map(|who| {
            let peer = rig.peer(who);
            let ends = peer.responses.iter().filter(|(_, response)| {
                let method = response.headers.cseq().unwrap().method;
                method == Method::Invite && response.status.is_final()
            });
            ends.count() + peer.failures
        });
        assert!(ends[0] + ends[1] >= placed, "seed {seed}: each caller hears of the end");
        let records = rig.finish();
        assert!(records.len() > CALLS * 9 / 10, "seed {seed}: {} attempts", records.len());
        let ids: BTreeSet<_> = records.iter().map(|record| record["id"].to_string()).collect();
        assert_eq!(ids.len(), records.len(), "seed {seed}: ids are unique");
        for code in [200, 302, 408, 480, 486, 487, 488, 503] {
            let some = records.iter().any(|record| record["code"] == code);
            // A redirection is ours to hide.
            assert_eq!(some, code != 302, "seed {seed}: {code}");
        }
    }
}

/// Places on trunks come back whatever the end of a call, also when there are never enough of them.
#[test]
fn a_hundred_thousand_endings_leak_no_place() {
    let calls = 100_000;
    let rig = Rig::with("storm-places", "max_concurrent_calls = 100", "", "ring_limit = 15");
    let mut storm = Storm::new(3, rig, calls, PACE_HIGH, WAYS_ALONE);
    storm.blow();
    let Storm { mut rig, .. } = storm;
    rig.cut = None;
    rig.plane.stopped = false;
    rig.seconds(200);
    for trunk in [CARRIER, PBX] {
        assert_eq!(rig.gateway.admission.used(trunk).all(), 0);
    }
    let records = rig.finish();
    let full = |record: &&Value| record["reason"].as_str().is_some_and(|r| r.contains("max_"));
    let refused = records.iter().filter(full).count();
    let carried = records.len() - refused;
    assert!(refused > 10_000 && carried > 10_000, "{refused} refused, {carried} carried");
}

/// The same through a group of three carriers, of which one is small: each call is asked of several.
#[test]
fn a_storm_of_hunts_leaves_nothing() {
    for (seed, group) in [
        (3, "strategy = \"round_robin\"\nhunt_after_ringing = true"),
        (4, "strategy = \"weighted\"\nreach_timer = 1\nprogress_timer = 2"),
        (5, "strategy = \"least_loaded\"\nfailover_codes = [480, 486, 503]"),
    ] {
        let small = "max_concurrent_calls = 20";
        let rig =
            hunting::group(&format!("storm-{seed}"), group, ["", "", small], "ring_limit = 9");
        let mut storm = Storm::new(seed, rig, CALLS, PACE, 16);
        storm.blow();
        let mut rig = storm.rig;
        rig.cut = None;
        rig.plane.stopped = false;
        rig.seconds(200);
        for who in [Carrier, Second, Third] {
            assert!(rig.times_asked(who) > CALLS / 30, "seed {seed}: {who:?} was asked");
        }
        let admission = &rig.gateway.admission;
        let trunks = rig.gateway.trunks.iter();
        let held: Vec<_> = trunks.map(|trunk| admission.used(trunk.id).all()).collect();
        assert_eq!(held, [0; 4], "seed {seed}: places are held by nobody");
        let records = rig.finish();
        let hunted = |record: &&serde_json::Value| {
            record["attempts"].as_array().is_some_and(|attempts| attempts.len() > 1)
        };
        let count = records.iter().filter(hunted).count();
        assert!(count > CALLS / 10, "seed {seed}: {count} calls were hunted");
        let most = records.iter().filter_map(|record| Some(record["attempts"].as_array()?.len()));
        assert!(most.max() <= Some(3), "seed {seed}: three members, one address each");
        let late = |record: &&serde_json::Value| {
            let attempts = record["attempts"].as_array();
            attempts.is_some_and(|all| all.iter().any(|attempt| attempt["late"] == true))
        };
        assert!(records.iter().any(|record| late(&record)), "seed {seed}: some answered too late");
    }
}

impl Storm {
    /// `ways` are what a callee may do, see [`Storm::plan_answer`].
    fn new(seed: u64, rig: Rig, calls: usize, pace: u64, ways: u64) -> Self {
        let is_group = ways > WAYS_ALONE;
        let mut storm = Self {
            rig,
            ways,
            dice: Dice(seed),
            deeds: BTreeMap::new(),
            planned: 0,
            placed: 0,
            seen: BTreeSet::new(),
        };
        for n in 0..calls {
            let who = if storm.dice.below(2) == 0 && !is_group { Carrier } else { Pbx };
            storm.after(n as u64 * 1_000 / pace + storm.dice.0 % 100, Deed::Place(who));
        }
        for minute in 0..calls as u64 / pace / 60 {
            let start = minute * 60_000;
            let mut at = |offset: u64, deed| storm.after(start + offset, deed);
            at(5_000, Deed::StopPlane);
            at(9_000, Deed::StartPlane);
            at(15_000, Deed::Refuse(Some(Reason::NoPorts), None));
            at(17_000, Deed::Refuse(None, Some(Reason::BadCommand)));
            at(19_000, Deed::Refuse(None, Some(Reason::NoSuchFlow)));
            at(20_000, Deed::Refuse(None, None));
            at(30_000, Deed::Cut(Some(Carrier)));
            at(34_000, Deed::Cut(None));
            at(36_000, Deed::Disconnect);
            for second in 0..10 {
                at(40_000 + second * 1_000, Deed::Silence);
            }
        }
        storm
    }

    fn after(&mut self, ms: u64, deed: Deed) {
        self.planned += 1;
        let at = self.rig.now + Duration::from_millis(ms);
        self.deeds.insert((at, self.planned), deed);
    }

    fn blow(&mut self) {
        while let Some(((at, _), deed)) = self.deeds.pop_first() {
            self.rig.run(at - self.rig.now);
            self.act(deed);
            self.rig.settle();
            self.plan();
        }
    }

    fn act(&mut self, deed: Deed) {
        let now = self.rig.now;
        match deed {
            Deed::Place(who) => self.place(who),
            Deed::Cancel(who, client) => {
                let _too_late = self.rig.peer(who).endpoint.cancel(now, client);
            }
            Deed::Answer(who, id, status, body) => {
                self.rig.peer(who).answer(now, id, status, body);
            }
            Deed::Reinvite(who, dialog) => {
                let endpoint = &mut self.rig.peer(who).endpoint;
                let method = Method::Invite;
                let _gone = endpoint.request_in_dialog(now, dialog, method, vec![], None);
            }
            Deed::HangUp(who, dialog) => self.rig.peer(who).hang_up(now, dialog),
            Deed::StopPlane => self.rig.plane.stopped = true,
            Deed::StartPlane => self.rig.plane.stopped = false,
            Deed::Refuse(open, update) => {
                self.rig.plane.refuse_open = open;
                self.rig.plane.refuse_update = update;
            }
            Deed::Cut(who) => self.rig.cut = who,
            Deed::Disconnect => self.rig.disconnect(Pbx),
            Deed::Silence => {
                for id in self.rig.plane.all_flows() {
                    if self.dice.below(3) == 0 {
                        self.rig.plane.fall_silent(id);
                    }
                }
            }
        }
    }

    fn place(&mut self, who: Who) {
        self.placed += 1;
        let now = self.rig.now;
        let peer = self.rig.peer(who);
        let offer = match self.dice.below(10) {
            0 => None,
            1 => Some(String::from("v=0\r\nnonsense\r\n")),
            _ => Some(peer.offer()),
        };
        let invite = peer.invite("+4930222", offer);
        let client = peer.call(now, invite);
        if self.dice.below(4) == 0 {
            let wait = self.dice.below(9_000);
            self.after(wait, Deed::Cancel(who, client));
        }
    }

    /// Decides what becomes of new INVITEs and of new dialogs.
    fn plan(&mut self) {
        for who in [Carrier, Pbx, Second, Third] {
            while let Some((id, invite)) = self.rig.peer(who).invites.pop_front() {
                self.plan_answer(who, id, &invite);
            }
            let live: Vec<_> = self.rig.peer(who).live.iter().copied().collect();
            for dialog in live {
                if self.seen.insert((who, dialog)) {
                    let short = self.dice.below(25_000);
                    if self.dice.below(3) == 0 {
                        self.after(short / 2, Deed::Reinvite(who, dialog));
                    }
                    self.after(short, Deed::HangUp(who, dialog));
                    // Whoever missed a BYE hangs up in the end.
                    self.after(150_000, Deed::HangUp(who, dialog));
                }
            }
        }
    }

    fn plan_answer(&mut self, who: Who, id: ServerId, invite: &Request) {
        let peer = self.rig.peer(who);
        let usual = match invite.body.is_empty() {
            true => peer.offer(),
            false => peer.accept(&invite.body),
        };
        let first = self.dice.below(1_500);
        match self.dice.below(4) {
            0 => self.after(first, Deed::Answer(who, id, 180, None)),
            1 => self.after(first, Deed::Answer(who, id, 183, Some(usual.clone()))),
            _ => {}
        }
        let then = first + self.dice.below(6_000);
        let (status, body) = match self.dice.below(self.ways) {
            0 => (486, None),
            1 => (302, None),
            2 => (480, None),
            3 => (200, None),
            4 => (200, Some(String::from("v=0\r\nnonsense\r\n"))),
            // Rings until somebody gives up; a CANCEL may get lost.
            5 => return self.after(100_000, Deed::Answer(who, id, 480, None)),
            12 | 13 => (503, None),
            14 => (500, None),
            15 => (408, None),
            _ => (200, Some(usual)),
        };
        self.after(then, Deed::Answer(who, id, status, body));
    }
}

/// Repeatable random numbers (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
