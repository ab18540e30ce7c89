use std::net::SocketAddr;

use super::*;
use crate::limits::{LATCH_WINDOW_NS, LATCH_WINDOW_RTCP_NS};

const SECOND: u64 = 1_000_000_000;
const SSRC: u32 = 0x7a11;

fn at(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().unwrap().into()
}

/// The signalled address, and where the peer's packets come from behind its translator.
fn signalled() -> Endpoint {
    at("192.0.2.10:4000")
}
fn translated() -> Endpoint {
    at("192.0.2.77:61000")
}
fn neighbour() -> Endpoint {
    at("192.0.2.10:4001")
}
fn inside() -> Endpoint {
    at("192.0.2.200:5000")
}
fn outside() -> Endpoint {
    at("203.0.113.66:4000")
}

fn media_network() -> Network {
    Network { ip: at("192.0.2.0:0").ip, prefix: 120 }
}

fn learn(within: Option<Network>) -> Learning {
    Learning::Learn { window_ns: LATCH_WINDOW_NS, within }
}

/// One packet through the gates of the relay.
fn packet(latch: &mut Latch, source: Endpoint, ssrc: u32, now_ns: u64) -> Confirmed {
    match latch.check(source, now_ns) {
        Approach::Expected | Approach::Candidate => latch.confirm(source, ssrc, now_ns),
        Approach::Refused | Approach::Unset => {
            let before = latch.source();
            assert_eq!(latch.confirm(source, ssrc, now_ns), Confirmed::Refused);
            assert_eq!(latch.source(), before);
            Confirmed::Refused
        }
    }
}

/// A latch that has locked on the translated source at 0.1 s.
fn locked(secure: bool) -> Latch {
    let mut latch = Latch::new(Some(signalled()), learn(Some(media_network())), secure, 0);
    assert_eq!(packet(&mut latch, translated(), SSRC, SECOND / 10), Confirmed::Learned);
    latch
}

#[test]
fn a_network_is_its_first_bits() {
    let rows = [
        ("192.0.2.0:0", 120, "192.0.2.255:9", true),
        ("192.0.2.0:0", 120, "192.0.3.0:9", false),
        ("192.0.2.7:0", 128, "192.0.2.7:9", true),
        ("192.0.2.7:0", 255, "192.0.2.6:9", false),
        ("10.0.0.0:0", 104, "10.255.0.1:9", true),
        ("10.0.0.0:0", 96, "203.0.113.1:9", true),
        ("10.0.0.0:0", 96, "[2001:db8::1]:9", false),
        ("[2001:db8::]:0", 32, "[2001:db8:ffff::1]:9", true),
        ("[2001:db8::]:0", 32, "[2001:db9::1]:9", false),
        ("[::]:0", 0, "203.0.113.1:9", true),
    ];
    for (network, prefix, endpoint, expected) in rows {
        let network = Network { ip: at(network).ip, prefix };
        assert_eq!(network.contains(at(endpoint)), expected, "{network:?} {endpoint}");
    }
}

/// The NAT field of a trunk, as signaling translates it. AUTO means COMEDIA when the signalled
/// address is private or differs from where signaling came from, and NO otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Nat {
    No,
    ForceRport,
    Comedia,
    Yes,
    AutoDirect,
    AutoTranslated,
}

impl Nat {
    const ALL: [Nat; 6] =
        [Nat::No, Nat::ForceRport, Nat::Comedia, Nat::Yes, Nat::AutoDirect, Nat::AutoTranslated];

    fn learns(self) -> bool {
        matches!(self, Nat::Comedia | Nat::Yes | Nat::AutoTranslated)
    }

    fn learning(self) -> Learning {
        if self.learns() { learn(Some(media_network())) } else { Learning::Off }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    InWindow,
    AfterWindow,
    Locked,
    LockedInWindow,
    Silent,
    SilentOtherSsrc,
    RestatedSame,
    RestatedChanged,
}

/// Does a packet from `source` at that moment become the source, by the rules as prose has them?
fn expected(nat: Nat, secure: bool, moment: Moment, source: Endpoint) -> Confirmed {
    use Moment::{AfterWindow, InWindow, Locked, LockedInWindow, RestatedChanged};
    let (learned, kept, refused) = (Confirmed::Learned, Confirmed::Kept, Confirmed::Refused);
    let lock_held = !matches!(moment, InWindow | AfterWindow);
    if !nat.learns() {
        let heard = matches!(moment, InWindow | AfterWindow | RestatedChanged);
        return match (source == signalled(), heard) {
            (false, _) => refused,
            (true, true) => learned,
            (true, false) => kept,
        };
    }
    if source == outside() {
        return refused;
    }
    if lock_held && source == translated() {
        return kept;
    }
    match moment {
        InWindow | RestatedChanged => learned,
        AfterWindow => {
            if secure || source == signalled() {
                learned
            } else {
                refused
            }
        }
        LockedInWindow => {
            if source == inside() {
                refused
            } else {
                learned
            }
        }
        Moment::Silent => learned,
        // Authenticated packets of a better source need no window.
        _ if secure && source != inside() => learned,
        Locked | Moment::SilentOtherSsrc | Moment::RestatedSame => refused,
    }
}

fn bring_to(nat: Nat, secure: bool, moment: Moment) -> (Latch, u64) {
    let mut latch = Latch::new(Some(signalled()), nat.learning(), secure, 0);
    let first = if nat.learns() { translated() } else { signalled() };
    let late = 2 * LATCH_WINDOW_NS;
    let lock = |latch: &mut Latch, until: u64| {
        assert_eq!(packet(latch, first, SSRC, 0), Confirmed::Learned);
        assert_eq!(packet(latch, first, SSRC, until), Confirmed::Kept);
    };
    let now_ns = match moment {
        Moment::InWindow => LATCH_WINDOW_NS - 1,
        Moment::AfterWindow => LATCH_WINDOW_NS,
        Moment::LockedInWindow => {
            lock(&mut latch, SECOND);
            2 * SECOND
        }
        Moment::Locked => {
            lock(&mut latch, late);
            late + LATCH_SILENCE_NS - 1
        }
        Moment::Silent | Moment::SilentOtherSsrc => {
            lock(&mut latch, late);
            late + LATCH_SILENCE_NS
        }
        Moment::RestatedSame => {
            lock(&mut latch, late);
            latch.restate(Some(signalled()), nat.learning(), secure, late);
            late + 1
        }
        Moment::RestatedChanged => {
            lock(&mut latch, late);
            latch.restate(Some(at("192.0.2.99:9000")), nat.learning(), secure, late);
            latch.restate(Some(signalled()), nat.learning(), secure, late);
            late + 1
        }
    };
    (latch, now_ns)
}

#[test]
fn each_nat_mode_learns_by_its_rules() {
    use Moment::*;
    let moments = [
        InWindow,
        AfterWindow,
        Locked,
        LockedInWindow,
        Silent,
        SilentOtherSsrc,
        RestatedSame,
        RestatedChanged,
    ];
    for nat in Nat::ALL {
        for secure in [false, true] {
            for moment in moments {
                for source in [signalled(), translated(), neighbour(), inside(), outside()] {
                    // What a replaced source may do has its own test.
                    if moment == RestatedChanged && source == translated() {
                        continue;
                    }
                    let (mut latch, now_ns) = bring_to(nat, secure, moment);
                    let ssrc = if moment == SilentOtherSsrc { SSRC + 1 } else { SSRC };
                    let found = packet(&mut latch, source, ssrc, now_ns);
                    let wanted = expected(nat, secure, moment, source);
                    let row = format!("{nat:?} secure {secure} {moment:?} {source:?}");
                    assert_eq!(found, wanted, "{row}");
                    assert_eq!(
                        found != Confirmed::Refused,
                        latch.source() == Some(source),
                        "{row}"
                    );
                }
            }
        }
    }
}

#[test]
fn nothing_signalled_and_nothing_to_learn_is_unset() {
    let latch = Latch::new(None, Learning::Off, false, 0);
    assert_eq!(latch.check(inside(), 0), Approach::Unset);
    let latch = Latch::new(None, learn(Some(media_network())), false, 0);
    assert_eq!(latch.check(inside(), 0), Approach::Candidate);
    assert_eq!(latch.check(outside(), 0), Approach::Refused);
    assert_eq!(latch.check(inside(), LATCH_WINDOW_NS), Approach::Unset);
    assert_eq!(latch.source(), None, "a private address is not sent to; nothing else is known");
}

#[test]
fn a_source_port_of_0_is_not_learned() {
    let latch = Latch::new(None, learn(None), false, 0);
    assert_eq!(latch.check(at("192.0.2.77:0"), 0), Approach::Refused);
}

#[test]
fn the_signalled_address_needs_no_place_in_the_network() {
    let mut latch = Latch::new(Some(outside()), learn(Some(media_network())), false, 0);
    assert_eq!(packet(&mut latch, inside(), SSRC, 1), Confirmed::Learned);
    assert_eq!(packet(&mut latch, outside(), SSRC, 2), Confirmed::Learned);
    assert_eq!(packet(&mut latch, inside(), SSRC, 3), Confirmed::Refused);
}

#[test]
fn an_attacker_who_was_first_loses_to_the_signalled_address() {
    let mut latch = Latch::new(Some(signalled()), learn(None), false, 0);
    assert_eq!(packet(&mut latch, outside(), 666, 1), Confirmed::Learned);
    assert_eq!(packet(&mut latch, neighbour(), SSRC, 2), Confirmed::Learned, "same host is better");
    assert_eq!(packet(&mut latch, signalled(), SSRC, 3), Confirmed::Learned, "exactly is best");
    for now_ns in [4, SECOND, 10 * SECOND, 1000 * SECOND] {
        assert_eq!(packet(&mut latch, outside(), 666, now_ns), Confirmed::Refused);
        assert_eq!(packet(&mut latch, outside(), SSRC, now_ns), Confirmed::Refused, "contested");
    }
    assert_eq!(packet(&mut latch, signalled(), SSRC, 1001 * SECOND), Confirmed::Kept);
}

/// The signalled address is dead, the peer sits behind a translator; the attacker can forge source
/// addresses and receives nothing that is not sent to his own.
#[test]
fn forged_packets_stop_media_at_worst() {
    let mut latch = Latch::new(Some(signalled()), learn(None), false, 0);
    packet(&mut latch, translated(), SSRC, 1);
    assert_eq!(packet(&mut latch, signalled(), 666, 2), Confirmed::Learned);
    assert_eq!(packet(&mut latch, outside(), 666, 4 * SECOND), Confirmed::Refused);

    let mut latch = locked(false);
    assert_eq!(packet(&mut latch, translated(), 666, 6 * SECOND), Confirmed::Kept);
    assert_eq!(packet(&mut latch, inside(), 666, 10 * SECOND), Confirmed::Refused, "planted SSRC");
    assert_eq!(packet(&mut latch, inside(), SSRC, 10 * SECOND), Confirmed::Learned);
}

#[test]
fn the_ssrc_of_a_silent_source_cannot_be_guessed() {
    let mut latch = locked(false);
    let hold = 10 * SECOND;
    for guess in 0..u32::from(LATCH_GUESSES_MAX) {
        assert_eq!(latch.check(inside(), hold), Approach::Candidate);
        assert_eq!(latch.confirm(inside(), SSRC + 1 + guess, hold), Confirmed::Refused);
    }
    assert_eq!(latch.check(inside(), hold), Approach::Refused);
    assert_eq!(latch.confirm(inside(), SSRC, hold), Confirmed::Refused);
    // The source itself is heard as ever, and that opens the matter again.
    assert_eq!(packet(&mut latch, translated(), SSRC, 20 * SECOND), Confirmed::Kept);
    assert_eq!(packet(&mut latch, inside(), SSRC, 23 * SECOND), Confirmed::Learned);
}

#[test]
fn an_authenticated_source_that_moves_twice_is_followed() {
    let mut latch = Latch::new(None, learn(None), true, 0);
    let hour = 3600 * SECOND;
    assert_eq!(packet(&mut latch, translated(), SSRC, hour), Confirmed::Learned, "no window");
    assert_eq!(packet(&mut latch, inside(), SSRC, hour + 1), Confirmed::Refused, "locked");
    assert_eq!(packet(&mut latch, translated(), SSRC + 9, hour + SECOND), Confirmed::Kept);
    let later = hour + SECOND + LATCH_SILENCE_NS;
    assert_eq!(packet(&mut latch, inside(), SSRC, later), Confirmed::Refused);
    assert_eq!(
        packet(&mut latch, inside(), SSRC + 9, later),
        Confirmed::Learned,
        "its newest SSRC"
    );
    let later = later + LATCH_SILENCE_NS;
    assert_eq!(packet(&mut latch, translated(), SSRC + 9, later), Confirmed::Learned);
}

#[test]
fn stragglers_of_the_old_address_do_not_hold_up_the_new_one() {
    let mut latch = locked(false);
    let (moved, reinvite) = (at("192.0.2.99:9000"), 60 * SECOND);
    latch.restate(Some(moved), learn(Some(media_network())), false, reinvite);
    assert_eq!(latch.source(), Some(moved), "signaling says where to send");
    assert_eq!(packet(&mut latch, translated(), SSRC, reinvite + 1), Confirmed::Kept);
    assert_eq!(latch.source(), Some(moved), "and packets under way do not contradict it");
    let new = at("192.0.2.98:1234");
    assert_eq!(packet(&mut latch, new, 5, reinvite + 2), Confirmed::Learned);
    assert_eq!(packet(&mut latch, translated(), SSRC, reinvite + 3), Confirmed::Refused);
    assert_eq!(
        packet(&mut latch, inside(), 5, reinvite + 4 * SECOND),
        Confirmed::Learned,
        "SSRC 5"
    );
}

#[test]
fn a_peer_that_did_not_move_is_learned_again() {
    let mut latch = locked(false);
    let reinvite = 60 * SECOND;
    latch.restate(Some(at("192.0.2.99:9000")), learn(Some(media_network())), false, reinvite);
    let settled = reinvite + LATCH_STRAGGLERS_NS;
    assert_eq!(packet(&mut latch, translated(), SSRC, settled), Confirmed::Learned);
    assert_eq!(latch.source(), Some(translated()));
    // Its address is private: there is nowhere else to send, so it need not wait.
    let mut latch = locked(false);
    latch.restate(None, learn(Some(media_network())), false, reinvite);
    assert_eq!(latch.source(), None);
    assert_eq!(packet(&mut latch, translated(), SSRC, reinvite + 1), Confirmed::Learned);
}

#[test]
fn other_rules_for_the_same_address_keep_media_flowing_and_trust_nobody() {
    let mut latch = locked(false);
    let upgrade = 60 * SECOND;
    latch.restate(Some(signalled()), learn(Some(media_network())), true, upgrade);
    assert_eq!(latch.source(), Some(translated()), "until an authenticated packet says otherwise");
    assert_eq!(packet(&mut latch, inside(), 5, upgrade + 1), Confirmed::Learned);
    assert_eq!(packet(&mut latch, translated(), SSRC, upgrade + 2), Confirmed::Refused);

    let narrow = Network { ip: signalled().ip, prefix: 128 };
    let mut latch = locked(false);
    latch.restate(Some(signalled()), learn(Some(narrow)), false, upgrade);
    assert_eq!(latch.source(), Some(signalled()), "the learned one is outside now");

    let mut latch = locked(false);
    latch.restate(Some(signalled()), Learning::Off, false, upgrade);
    assert_eq!(latch.source(), Some(signalled()));
    assert_eq!(packet(&mut latch, translated(), SSRC, upgrade + 1), Confirmed::Refused);

    let mut latch = locked(false);
    let wide = learn(Some(Network { ip: signalled().ip, prefix: 112 }));
    latch.restate(Some(signalled()), wide, false, upgrade);
    assert_eq!(packet(&mut latch, translated(), SSRC, upgrade + 6 * SECOND), Confirmed::Kept);
    let moved = upgrade + 9 * SECOND;
    assert_eq!(packet(&mut latch, inside(), SSRC, moved), Confirmed::Learned, "it may move");
}

#[test]
fn rtcp_is_learned_beside_the_rtp_only() {
    let learn = Learning::Learn { window_ns: LATCH_WINDOW_RTCP_NS, within: None };
    let mut rtp = Latch::new(None, learn, false, 0);
    let mut rtcp = Latch::new(None, learn, false, 0);
    rtcp.accompany(&rtp, 0);
    assert_eq!(rtcp.check(outside(), 1), Approach::Refused, "nobody is known yet");
    packet(&mut rtp, translated(), SSRC, 2);
    rtcp.accompany(&rtp, 2);
    assert_eq!(rtcp.check(outside(), 3), Approach::Refused);
    let beside = Endpoint { port: 61_007, ..translated() };
    assert_eq!(packet(&mut rtcp, beside, SSRC, 3), Confirmed::Learned, "any port of that host");
    rtcp.accompany(&rtp, 4);
    assert_eq!(rtcp.source(), Some(beside), "the same address changes nothing");
    // The RTP moves, and takes the RTCP with it.
    packet(&mut rtp, translated(), SSRC, 60 * SECOND);
    let moved = 64 * SECOND;
    assert_eq!(packet(&mut rtp, inside(), SSRC, moved), Confirmed::Learned);
    rtcp.accompany(&rtp, moved);
    assert_eq!(rtcp.source(), None);
    assert_eq!(packet(&mut rtcp, beside, SSRC, moved + 1), Confirmed::Refused);
    let beside = Endpoint { port: 7, ..inside() };
    let last = moved + LATCH_WINDOW_RTCP_NS - 1;
    assert_eq!(rtcp.check(beside, last + 1), Approach::Unset);
    assert_eq!(packet(&mut rtcp, beside, SSRC, last), Confirmed::Learned);
    // What signaling says again does not forget whom the RTCP belongs to.
    rtcp.restate(Some(signalled()), learn, false, moved + SECOND);
    assert_eq!(rtcp.check(outside(), moved + SECOND), Approach::Refused);
}

/// Random numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// What an attacker may be and do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attack {
    /// From outside the network, at any time, re-INVITEs included.
    FromOutside,
    /// From anywhere but the peer's host, once the peer was heard; forges any source address.
    AfterLock,
    /// The same with copies of the peer's own packets, authentic or not, while the peer talks.
    Copies { secure: bool },
    /// Control: from anywhere, before the peer was heard.
    InWindow,
}

/// Plays one call; true when the latch ever pointed at one of the attacker's own addresses.
fn diverted(attack: Attack, seed: u64) -> bool {
    let mut dice = Dice(seed);
    let secure = attack == Attack::Copies { secure: true };
    let copies = matches!(attack, Attack::Copies { .. });
    let within = (attack == Attack::FromOutside).then(media_network);
    let lairs = match attack {
        Attack::FromOutside => [outside(), at("198.51.100.1:4000"), at("[2001:db8::1]:4000")],
        _ => [outside(), inside(), at("192.0.2.11:4000")],
    };
    let home = if dice.roll(2) == 0 { signalled() } else { translated() };
    let mut named = (dice.roll(3) > 0).then_some(signalled());
    let mut now_ns = 0;
    let mut latch = Latch::new(named, learn(within), secure, now_ns);
    if attack != Attack::InWindow {
        packet(&mut latch, home, SSRC, now_ns);
    }
    for _ in 0..60 {
        now_ns += [1_000, 20_000_000, 400_000_000, 4 * SECOND][dice.roll(4) as usize];
        let lair = lairs[dice.roll(3) as usize];
        let ssrc = if copies { SSRC } else { SSRC + 1 + dice.roll(3) as u32 };
        if copies {
            packet(&mut latch, home, SSRC, now_ns);
            now_ns += dice.roll(LATCH_SILENCE_NS);
        }
        match dice.roll(5) {
            0 | 1 if attack == Attack::InWindow => {}
            0 | 1 => _ = packet(&mut latch, home, SSRC, now_ns),
            2 => {
                if attack == Attack::FromOutside {
                    named = (dice.roll(2) == 0).then_some(signalled());
                }
                latch.restate(named, learn(within), secure, now_ns);
            }
            3 if attack == Attack::AfterLock => {
                let forged = [home, signalled(), translated(), neighbour()][dice.roll(4) as usize];
                packet(&mut latch, forged, ssrc, now_ns);
            }
            _ => _ = packet(&mut latch, lair, ssrc, now_ns),
        }
        if latch.source().is_some_and(|source| lairs.contains(&source)) {
            return true;
        }
    }
    false
}

#[test]
fn an_attacker_without_place_time_or_ssrc_never_becomes_the_source() {
    let copies = [false, true].map(|secure| Attack::Copies { secure });
    for attack in [Attack::FromOutside, Attack::AfterLock, copies[0], copies[1]] {
        for seed in 0..4_000 {
            assert!(!diverted(attack, seed), "{attack:?} seed {seed}");
        }
    }
    assert!((0..100).any(|seed| diverted(Attack::InWindow, seed)), "the attack attacks nothing");
}

#[test]
fn a_latch_is_small() {
    assert!(size_of::<Latch>() <= 320, "{} octets", size_of::<Latch>());
}
