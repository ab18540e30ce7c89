//! What happens when the process runs out of descriptors. The limit is the whole process's, so this
//! test has a binary of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use std::os::fd::AsRawFd;

use abi::{Counter, Notice, Reason};
use rig::{Call, Rig, id};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_lease_without_descriptors_is_refused_and_media_goes_on() {
    let mut rig = Rig::with(16, 20_000..=20_015);
    let call = Call::place(&mut rig, 0, 1);
    call.join(&mut rig);
    let before = getrlimit(Resource::Nofile);
    // Room for one more descriptor: the RTP port gets a socket, the RTCP port none.
    let free = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(free + 1), ..before }).unwrap();
    let answers: Vec<Notice> = (2..6).map(|index| rig.try_open(id(index, 1))).collect();
    setrlimit(Resource::Nofile, before).unwrap();
    for answer in answers {
        assert!(
            matches!(answer, Notice::Refused { reason: Reason::NoDescriptors, .. }),
            "{answer:?}"
        );
    }
    call.far_a.rtp.send_to(&rig::packet::rtp(1), call.at_a.0).unwrap();
    rig::receive(&call.far_b.rtp);
    rig.await_counter(Counter::OpensRefused, 4);
    // Nothing was lost: the six pairs that are left, and not one more.
    for index in 2..8 {
        rig.open(id(index, 1));
    }
    let answer = rig.try_open(id(8, 1));
    assert!(matches!(answer, Notice::Refused { reason: Reason::NoPorts, .. }), "{answer:?}");
}
