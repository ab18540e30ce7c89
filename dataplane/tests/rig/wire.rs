//! Where the far ends of a rig are when frames are tested: on the other side of a wire of the test's
//! own, with addresses of their own. Without it they are on loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use abi::{Counter, Family};
use dataplane::Config;
use dataplane::io::bpf::Link;

use super::packet::rtp;
use super::stage::{FAR, FAR2, NEAR, NEAR2, Stage};
use super::{Call, Far, Rig, id, own_address, receive};

/// The wire of one test's thread.
pub struct Wire {
    pub stage: Stage,
}

thread_local!(static WIRE: Option<Wire> = Wire::build());

/// Hands the wire of this test to `use_it`; `None` in tests over loopback.
pub fn with<T>(use_it: impl FnOnce(&Wire) -> T) -> Option<T> {
    WIRE.with(|wire| wire.as_ref().map(use_it))
}

/// Whether there is a wire; false without root, where the rig says so.
pub fn has_wire() -> bool {
    with(|_| ()).is_some()
}

pub fn on_wire<T>(work: impl FnOnce(&Wire) -> T) -> T {
    with(work).unwrap()
}

/// A second wire and a network of its own behind it, beside what `config` has.
pub fn add_network(config: &mut Config) {
    on_wire(|wire| wire.stage.add_wire());
    config.networks.push(vec![NEAR2.parse().unwrap()]);
}

/// A call whose B is behind the second wire.
pub fn call_across(rig: &mut Rig) -> Call {
    let (a, b) = (id(0, 1), id(1, 1));
    let (at_a, at_b) = (rig.open_on(a, 0, Family::V4), rig.open_on(b, 1, Family::V4));
    let (far_a, far_b) = (Far::new(own_address()), Far::new(FAR2.parse().unwrap()));
    let call = Call { a, b, far_a, far_b, at_a, at_b };
    call.join(rig);
    call
}

/// Plain both ways, one packet at a time.
pub fn talk(call: &Call, seqs: std::ops::Range<u16>) {
    for seq in seqs {
        call.far_a.rtp.send_to(&rtp(seq), call.at_a.0).unwrap();
        assert_eq!(receive(&call.far_b.rtp), (rtp(seq), call.at_b.0));
        call.far_b.rtp.send_to(&rtp(seq), call.at_b.0).unwrap();
        assert_eq!(receive(&call.far_a.rtp), (rtp(seq), call.at_a.0));
    }
}

/// How many of the packets that `work` has relayed, `relayed` of them, came past XDP.
pub fn passed_by(rig: &Rig, relayed: u64, work: impl FnOnce()) -> u64 {
    let count = || (rig.counter(Counter::RelayedRtp), rig.counter(Counter::PassedPackets));
    rig.check_books();
    let before = count();
    work();
    rig.await_counter(Counter::RelayedRtp, before.0 + relayed);
    rig.check_books();
    count().1 - before.1
}

/// Makes the far end `link` of a wire take what the near driver sends it by itself, as long as the value
/// lives; to be called there. The other end of a veth pair polls for such frames only while it has a program
/// itself, and its own packets must not leave their checksums to a device.
pub fn take_what_the_driver_sends(link: &str) -> Link {
    let said = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output().expect(program);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    said("ethtool", &["-K", link, "tx", "off"]);
    let shown = said("ip", &["-o", "link", "show", link]);
    let ifindex = shown.split(':').next().unwrap().parse().unwrap();
    Link::xdp_pass(ifindex).unwrap()
}

/// What the data plane has instead of a far end's address that a test took for its own.
pub fn home(far: IpAddr) -> IpAddr {
    match far {
        _ if with(|_| ()).is_none() => far,
        IpAddr::V4(far) => {
            let [a, b, c, d] = far.octets();
            Ipv4Addr::new(a, b, c & 0x7f, d).into()
        }
        IpAddr::V6(_) => NEAR[1].parse().unwrap(),
    }
}

impl Wire {
    fn build() -> Option<Wire> {
        if !super::is_wired() {
            return None;
        }
        let stage = Stage::build().expect("root: `backend` has seen to that");
        Some(Wire { stage })
    }

    /// An address of the far side that no other test of this process has, and [`home`] of it one of
    /// the near side.
    pub fn address(&self) -> IpAddr {
        static NEXT: AtomicU16 = AtomicU16::new(256);
        let [c, d] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.stage.far(&format!("address add 10.99.{}.{d}/16 dev far", c | 0x80));
        self.stage.near(&format!("address add 10.99.{c}.{d}/16 dev near"));
        Ipv4Addr::new(10, 99, c | 0x80, d).into()
    }

    pub fn six(&self) -> IpAddr {
        FAR[1].parse().unwrap()
    }
}
