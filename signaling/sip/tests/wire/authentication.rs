//! The authentication headers, damaged: the fuzz body of `digest` over stored values.

use proptest::prelude::*;
use sip::digest::fuzz;

const SEEDS: &[u8] = include_bytes!("../seeds/authentication.txt");

fn seeds() -> impl Iterator<Item = &'static [u8]> {
    SEEDS.split(|byte| *byte == b'\n')
}

#[test]
fn each_seed_and_each_prefix_of_it() {
    for seed in seeds() {
        for end in 0..=seed.len() {
            fuzz::value(&seed[..end]);
        }
    }
}

#[test]
fn each_byte_flipped_or_replaced_by_what_separates() {
    for seed in seeds() {
        for at in 0..seed.len() {
            let mut damaged = seed.to_vec();
            for mask in [0x01, 0x20, 0x80] {
                damaged[at] = seed[at] ^ mask;
                fuzz::value(&damaged);
            }
            for byte in *b"\r\n\0 ,=\"\\" {
                damaged[at] = byte;
                fuzz::value(&damaged);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz::value(&data);
    }

    #[test]
    fn fields_in_any_order(text in r#"Digest( ?(realm|nonce|qop|algorithm|stale|opaque|nc)="?[a-z0-9,-]{0,9}"?,){0,8}"#) {
        fuzz::value(text.as_bytes());
    }
}
