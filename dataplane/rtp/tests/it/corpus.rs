//! Stored datagrams, `tests/corpus/*.bin`: what networks send, and shapes that have broken other
//! implementations. Every body meets all of them, as they are and with seeded damage.
//!
//! `cargo test --release -p rtp -- --ignored write_the_corpus` writes what [`made`] says. A datagram that
//! broke something is added by hand as one more file; nothing need name it.

use std::path::PathBuf;

use rtp::srtp::{MasterKey, Mki, Protect, Suite};

use crate::bodies;
use crate::generate::Rng;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Every stored datagram with its name, in the order of the names.
fn stored() -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_stored_datagram_through_every_body() {
    let stored = stored();
    for (_, datagram) in &stored {
        bodies::all(datagram);
        for len in 0..datagram.len() {
            bodies::demux(&datagram[..len]);
            bodies::packet(&datagram[..len]);
            bodies::rtcp(&datagram[..len]);
            bodies::translate(&datagram[..len]);
        }
    }
    let octets: usize = stored.iter().map(|(_, datagram)| datagram.len()).sum();
    assert!(stored.len() >= made().len() && octets < 100_000, "{} of {octets}", stored.len());
}

#[test]
fn a_hundred_thousand_damaged_datagrams_through_every_view() {
    let stored = stored();
    let mut rng = Rng::new(5);
    for round in 0..100_000 {
        let damaged = damage(&mut rng, &stored);
        bodies::demux(&damaged);
        bodies::packet(&damaged);
        bodies::rtcp(&damaged);
        bodies::translate(&damaged);
        // Key schedules cost more than all of the above.
        if round % 50 == 0 {
            bodies::unprotect(&damaged);
            bodies::protect(&damaged);
        }
    }
}

/// One stored datagram with one to four injuries.
fn damage(rng: &mut Rng, stored: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = stored[rng.below(stored.len())].1.clone();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.word() as u8),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            3 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
            4 => {
                let other = &stored[rng.below(stored.len())].1;
                bytes.truncate(at);
                bytes.extend(other.get(rng.below(other.len() + 1)..).unwrap_or_default());
            }
            _ => bytes.extend(rng.bytes(4)),
        }
    }
    bytes
}

#[test]
fn what_is_stored_is_what_the_list_makes() {
    let stored = stored();
    for (name, datagram) in made() {
        let found = stored.iter().find(|(stored, _)| *stored == name);
        assert_eq!(found.map(|(_, found)| found), Some(&datagram), "{name}");
    }
}

#[test]
#[ignore = "writes the stored datagrams; see the module comment"]
fn write_the_corpus() {
    std::fs::create_dir_all(directory()).unwrap();
    for (name, datagram) in made() {
        std::fs::write(directory().join(format!("{name}.bin")), datagram).unwrap();
    }
}

/// The list. Names say what a datagram is; `bad_` is what no peer should send.
fn made() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, parts: &[&[u8]]| all.push((name.to_owned(), parts.concat()));
    let audio: Vec<u8> = (0..160).map(|n| (n * 7) as u8 ^ 0xd5).collect();
    media(&mut add, &audio);
    reports(&mut add);
    others(&mut add);
    protected(&mut all, &audio);
    all
}

/// Sequence number, timestamp and SSRC of most.
const REST: [u8; 10] = [0x12, 0x34, 0, 1, 0xf4, 0, 0xde, 0xad, 0xbe, 0xef];
const SSRC: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

fn media(add: &mut impl FnMut(&str, &[&[u8]]), audio: &[u8]) {
    add("rtp_pcmu", &[&[0x80, 0], &REST, audio]);
    add("rtp_pcma_marker", &[&[0x80, 0x88], &REST, audio]);
    add("rtp_g722_10ms", &[&[0x80, 9], &REST, &audio[..80]]);
    add("rtp_g729_two_frames", &[&[0x80, 18], &REST, &audio[..20]]);
    add("rtp_comfort_noise", &[&[0x80, 13], &REST, &[0x40, 0x7f, 0x60]]);
    add("rtp_event_start", &[&[0x80, 0xe5], &REST, &[5, 10, 0, 160]]);
    add("rtp_event_end", &[&[0x80, 101], &REST, &[5, 0x8a, 3, 0x20]]);
    add("rtp_event_pound_long", &[&[0x80, 101], &REST, &[11, 10, 0xff, 0xff]]);
    add("rtp_event_flash", &[&[0x80, 101], &REST, &[16, 0x8a, 1, 0x40]]);
    add("rtp_empty", &[&[0x80, 0], &REST]);
    let csrcs = [0x11; 60];
    add("rtp_fifteen_csrcs", &[&[0x8f, 0], &REST, &csrcs, audio]);
    let level = [0xbe, 0xde, 0, 1, 0x10, 0xb0, 0, 0];
    add("rtp_extension_one_octet", &[&[0x90, 111], &REST, &level, &audio[..60]]);
    let two = [0x10, 0, 0, 2, 1, 2, 9, 9, 0, 0, 0, 0];
    add("rtp_extension_two_octets", &[&[0x90, 111], &REST, &two, &audio[..60]]);
    add("rtp_extension_empty", &[&[0x90, 0], &REST, &[0xbe, 0xde, 0, 0], audio]);
    add("rtp_padding", &[&[0xa0, 0], &REST, audio, &[0, 0, 0, 4]]);
    add("rtp_padding_alone", &[&[0xa0, 0], &REST, &[0, 0, 0, 4]]);
    add("rtp_all_at_once", &[&[0xb2, 0xff], &REST, &csrcs[..8], &level, audio, &[0, 2]]);
    add("bad_rtp_version_0", &[&[0x00, 0], &REST, audio]);
    add("bad_rtp_version_1", &[&[0x40, 0], &REST, audio]);
    add("bad_rtp_version_3", &[&[0xc0, 0], &REST, audio]);
    add("bad_rtp_eleven_octets", &[&[0x80, 0], &REST[..9]]);
    add("bad_rtp_csrcs_beyond_the_end", &[&[0x8f, 0], &REST, &csrcs[..56]]);
    add("bad_rtp_extension_beyond_the_end", &[&[0x90, 0], &REST, &[0xbe, 0xde, 0xff, 0xff], audio]);
    add("bad_rtp_extension_cut_in_its_header", &[&[0x90, 0], &REST, &[0xbe, 0xde]]);
    add("bad_rtp_padding_0", &[&[0xa0, 0], &REST, audio, &[0]]);
    add("bad_rtp_padding_longer_than_payload", &[&[0xa0, 0], &REST, &[1, 2, 255]]);
    add("bad_rtp_padding_without_payload", &[&[0xa0, 0], &REST]);
}

fn reports(add: &mut impl FnMut(&str, &[&[u8]])) {
    let info = [0xe8, 0x2a, 0x11, 0x33, 0x80, 0, 0, 0, 0, 1, 0xf4, 0, 0, 0, 1, 0, 0, 0, 0xa0, 0];
    let block = [
        0xca, 0xfe, 0xba, 0xbe, 26, 0, 0, 5, 0, 1, 0x12, 0x34, 0, 0, 0, 40, 0x11, 0x33, 0x80, 0, 0,
        1, 0, 0,
    ];
    let name = [0x81, 202, 0, 4, SSRC[0], SSRC[1], SSRC[2], SSRC[3], 1, 7];
    let sdes = [&name[..], b"a@b.org", &[0, 0, 0]].concat();
    let receiver = [&[0x80, 201, 0, 1][..], &SSRC].concat();
    add("rtcp_sender_report", &[&[0x80, 200, 0, 6], &SSRC, &info, &sdes]);
    add("rtcp_sender_report_block", &[&[0x81, 200, 0, 12], &SSRC, &info, &block, &sdes]);
    add("rtcp_receiver_report", &[&[0x81, 201, 0, 7], &SSRC, &block, &sdes]);
    add("rtcp_receiver_report_two", &[&[0x82, 201, 0, 13], &SSRC, &block, &block]);
    add("rtcp_receiver_report_empty", &[&receiver, &sdes]);
    add("rtcp_bye", &[&receiver, &[0x81, 203, 0, 1], &SSRC]);
    add("rtcp_bye_reason", &[&receiver, &[0x81, 203, 0, 3], &SSRC, b"\x06hangup\0"]);
    add("rtcp_bye_thirty_one", &[&receiver, &[0x9f, 203, 0, 31], &[0x22; 124]]);
    add("rtcp_app", &[&receiver, &[0x80, 204, 0, 3], &SSRC, b"PoC1", &[1, 2, 3, 4]]);
    let blocks: [&[u8]; 4] = [
        &[4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8],
        &[5, 0, 0, 3, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 1, 0, 0, 0, 2],
        &[1, 0, 0, 3, 0xca, 0xfe, 0xba, 0xbe, 0, 1, 0, 9, 0x40, 8, 0xff, 0xfe],
        &[7, 0, 0, 8],
    ];
    let voip = [[0xca, 0xfe, 0xba, 0xbe].as_slice(), &[3; 28]].concat();
    let body = [blocks.concat(), voip].concat();
    let words = (1 + body.len() / 4) as u8;
    add("rtcp_extended_report", &[&receiver, &[0x80, 207, 0, words], &SSRC, &body]);
    let media = [0xca, 0xfe, 0xba, 0xbe];
    add("rtcp_nack", &[&receiver, &[0x81, 205, 0, 3], &SSRC, &media, &[0x12, 0x34, 0, 1]]);
    add("rtcp_picture_loss_alone", &[&[0x81, 206, 0, 2], &SSRC, &media]);
    add("rtcp_unknown_type", &[&receiver, &[0x80, 212, 0, 2], &SSRC, &media]);
    add("rtcp_padding", &[&[0xa0, 201, 0, 2], &SSRC, &[0, 0, 0, 4]]);
    add("bad_rtcp_length_beyond_the_end", &[&[0x80, 200, 0xff, 0xff], &SSRC, &info]);
    add("bad_rtcp_length_0", &[&[0x80, 201, 0, 0], &SSRC]);
    add("bad_rtcp_blocks_that_are_not_there", &[&[0x9f, 200, 0, 6], &SSRC, &info]);
    add("bad_rtcp_sdes_item_beyond_the_end", &[&[0x81, 202, 0, 2], &SSRC, &[1, 200, b'x', 0]]);
    add("bad_rtcp_sdes_without_its_end", &[&[0x81, 202, 0, 2], &SSRC, &[1, 2, b'x', b'y']]);
    add("bad_rtcp_bye_reason_beyond", &[&receiver, &[0x81, 203, 0, 2], &SSRC, &[99, b'x', 0, 0]]);
    add("bad_rtcp_bye_of_nobody", &[&[0x80, 203, 0, 0]]);
    add("bad_rtcp_xr_block_beyond", &[&[0x80, 207, 0, 2], &SSRC, &[4, 0, 0xff, 0xff]]);
    add("bad_rtcp_second_packet_cut", &[&receiver, &[0x81, 203]]);
    add("bad_rtcp_padding_in_the_middle", &[&[0xa0, 201, 0, 2], &SSRC, &[0, 0, 0, 4], &receiver]);
    add("bad_rtcp_padding_255", &[&[0xa0, 201, 0, 2], &SSRC, &[0, 0, 0, 255]]);
    add("bad_rtcp_app_without_a_name", &[&receiver, &[0x80, 204, 0, 1], &SSRC]);
}

/// What comes to media ports and is neither (RFC 7983), and fax.
fn others(add: &mut impl FnMut(&str, &[&[u8]])) {
    add("other_nothing", &[]);
    add("other_keep_alive", &[&[0; 4]]);
    add("other_line_ends", &[b"\r\n\r\n"]);
    add("other_stun_binding", &[&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &[7; 12]]);
    add(
        "other_dtls_client_hello",
        &[&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1], &[9; 19]],
    );
    add("other_zrtp_hello", &[&[0x10, 0, 0, 1], b"ZRTP", &SSRC, b"\x50\x5a\x00\x03Hello   "]);
    add("other_sip", &[b"OPTIONS sip:a@192.0.2.1 SIP/2.0\r\n\r\n"]);
    add("t38_no_signal", &[&[0, 1, 1, 0, 0, 0]]);
    add("t38_redundancy", &[&[0, 9, 6, 0xc0, 1, 0x80, 0, 0, 0xff, 0, 2, 1, 0, 1, 0]]);
    add("t38_forward_correction", &[&[0, 10, 1, 2, 0x80, 1, 3, 1, 1, 0]]);
    add("bad_t38_length_beyond_the_end", &[&[0, 11, 0xff, 1]]);
}

/// Real SRTP and SRTCP, under a key that no body has.
fn protected(all: &mut Vec<(String, Vec<u8>)>, audio: &[u8]) {
    let packet = [&[0x80, 0][..], &REST, audio].concat();
    let report = [&[0x80, 201, 0, 1][..], &SSRC].concat();
    for (n, suite) in Suite::ALL.into_iter().enumerate() {
        for named in [false, true] {
            let (key, salt) = ([0xe1; 32], [0x0e; 14]);
            let (key, salt) = (&key[..suite.key_len()], &salt[..suite.salt_len()]);
            let mut master = MasterKey::new(suite, key, salt).unwrap();
            if named {
                master = master.with_mki(Mki::new(7, 1 + n as u8 % 4).unwrap());
            }
            let mut protect = Protect::new(&master);
            let mut seal = |plain: &[u8], rtcp: bool| {
                let mut sealed = [plain, &[0; Suite::OVERHEAD_MAX]].concat();
                let len = match rtcp {
                    false => protect.rtp(&mut sealed, plain.len()),
                    true => protect.rtcp(&mut sealed, plain.len()),
                };
                sealed.truncate(len.unwrap());
                sealed
            };
            let (media, control) = (seal(&packet, false), seal(&report, true));
            let suffix = if named { "_mki" } else { "" };
            all.push((format!("srtcp_{n}{suffix}"), control.clone()));
            if !named {
                // SRTCP in clear, and a header with a tag that leaves no octet between them.
                let mut clear = control;
                clear[8] &= 0x7f;
                all.push((format!("bad_srtcp_clear_{n}"), clear));
                all.push((format!("bad_srtp_no_payload_{n}"), media[..12 + 10].to_vec()));
            }
            all.push((format!("srtp_{n}{suffix}"), media));
        }
    }
}
