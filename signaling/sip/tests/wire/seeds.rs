//! The stored seeds, and every fuzz body over them.

use sip::wire::fuzz;
use sipx_testkit::{rfc4475, rfc5118};

/// Messages of our own, byte-exact.
pub const MESSAGES: [(&str, &[u8]); 6] = [
    ("invite-trunk", include_bytes!("../seeds/invite-trunk.sip")),
    ("invite-compact-folded", include_bytes!("../seeds/invite-compact-folded.sip")),
    ("challenge", include_bytes!("../seeds/challenge.sip")),
    ("prack", include_bytes!("../seeds/prack.sip")),
    ("isup", include_bytes!("../seeds/isup.sip")),
    ("register", include_bytes!("../seeds/register.sip")),
];

/// What a byte transport delivers; the first byte seeds the cuts.
pub const FRAMED: [(&str, &[u8]); 3] = [
    ("framed-three", include_bytes!("../seeds/framed-three.bin")),
    ("framed-smuggle", include_bytes!("../seeds/framed-smuggle.bin")),
    ("framed-two-lengths", include_bytes!("../seeds/framed-two-lengths.bin")),
];

/// All messages: our own and those of RFC 4475 and RFC 5118.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let own = MESSAGES.iter().map(|(name, bytes)| (*name, bytes.to_vec()));
    let torture = rfc4475::CASES.iter().map(|case| (case.name, case.bytes.to_vec()));
    let ipv6 = rfc5118::CASES.iter().map(|case| (case.name, case.wire().to_vec()));
    own.chain(torture).chain(ipv6).collect()
}

#[test]
fn every_fuzz_body_over_every_seed() {
    for (_, bytes) in all() {
        fuzz::message(&bytes);
        fuzz::framer(&bytes);
        bytes.split(|b| *b == b'\n').for_each(fuzz::values);
        bytes.split(|b| b":\r\n,;<>".contains(b)).for_each(fuzz::values);
    }
    for (_, bytes) in FRAMED {
        fuzz::framer(bytes);
        fuzz::message(&bytes[1..]);
    }
}

#[test]
fn the_seeds_are_what_their_names_say() {
    for (name, bytes) in MESSAGES {
        let message = sip::wire::parse(bytes.into());
        assert!(message.is_ok(), "{name}: {message:?}");
    }
}
