//! What an interface's driver can do with XDP, as the kernel tells it by generic netlink since Linux 6.3:
//! to anybody, and before a program is there.
//!
//! ```text
//! "which number has the family netdev?" -> number;  number: "what can interface n do?" -> bits
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
    sockopt,
};

use super::message::{HEADER, attributes, begin, finish, put_attribute};

/// The abilities of one driver (`enum netdev_xdp_act`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Driver(u64);

impl Driver {
    /// Those of the driver of `ifindex`; `None` where the kernel does not tell.
    pub fn of(ifindex: u32) -> Option<Driver> {
        let line = open().ok()?;
        let family = ask(&line, (CONTROL, GET_FAMILY), (FAMILY_NAME, b"netdev\0"), FAMILY_ID)?;
        let family = u16::from_ne_bytes(*family.first_chunk()?);
        let question = (DEVICE, &ifindex.to_ne_bytes()[..]);
        let abilities = ask(&line, (family, GET_DEVICE), question, XDP_FEATURES)?;
        abilities.first_chunk().map(|bits| Driver(u64::from_ne_bytes(*bits)))
    }

    /// Programs run in the driver, and may send frames elsewhere.
    pub fn runs_programs(self) -> bool {
        self.0 & (BASIC | REDIRECT) == BASIC | REDIRECT
    }

    /// It takes frames that the program of another interface sends its way.
    pub fn takes_redirected(self) -> bool {
        self.0 & NDO_XMIT != 0
    }

    /// AF_XDP needs no copy of a frame.
    pub fn has_zero_copy(self) -> bool {
        self.0 & XSK_ZEROCOPY != 0
    }
}

fn open() -> io::Result<OwnedFd> {
    let (flags, protocol) = (SocketFlags::CLOEXEC, Some(netlink::GENERIC));
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    // The kernel answers within the question, so that this is a formality.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// Asks one question with one attribute; the value of the attribute `wanted` of the answer.
fn ask(
    line: &OwnedFd,
    (kind, command): (u16, u8),
    (attribute, value): (u16, &[u8]),
    wanted: u16,
) -> Option<Vec<u8>> {
    let mut question = begin(kind, SERIAL);
    question.extend([command, VERSION, 0, 0]);
    put_attribute(&mut question, attribute, value);
    send(line, &finish(question), SendFlags::empty()).ok()?;
    let mut datagram = vec![0; DATAGRAM_MAX];
    let (_, len) = recv(line, &mut datagram[..], RecvFlags::empty()).ok()?;
    value_of(datagram.get(..len)?, kind, wanted).map(<[u8]>::to_vec)
}

/// The value of an attribute in an answer of `kind`; `None` in a refusal.
fn value_of(datagram: &[u8], kind: u16, wanted: u16) -> Option<&[u8]> {
    let [l0, l1, l2, l3, k0, k1, ..] = *datagram.first_chunk::<HEADER>()?;
    if u16::from_ne_bytes([k0, k1]) != kind {
        return None;
    }
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let body = datagram.get(HEADER..length)?.get(GENERIC_HEADER..)?;
    attributes(body).find(|(attribute, _)| *attribute == wanted).map(|(_, value)| value)
}

const SERIAL: u32 = 1;
const VERSION: u8 = 1;
/// Command, version, two unused.
const GENERIC_HEADER: usize = 4;
const PATIENCE: Duration = Duration::from_secs(1);
const DATAGRAM_MAX: usize = 16 << 10;
/// The family that knows the numbers of families, and its answers.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// The family "netdev".
const GET_DEVICE: u8 = 1;
const DEVICE: u16 = 1;
const XDP_FEATURES: u16 = 3;
const BASIC: u64 = 1;
const REDIRECT: u64 = 1 << 1;
const NDO_XMIT: u64 = 1 << 2;
const XSK_ZEROCOPY: u64 = 1 << 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::neighbour::Kernel;
    use crate::io::stage::Stage;

    #[test]
    fn drivers_tell_what_they_can() {
        let index = |name: &str| Kernel::open().unwrap().link_named(name).unwrap().ifindex;
        let Some(loopback) = Driver::of(index("lo")) else {
            eprintln!("SKIPPED: this kernel does not tell (before 6.3)");
            return;
        };
        assert!(!loopback.runs_programs() && !loopback.has_zero_copy());
        assert_eq!(Driver::of(u32::MAX >> 1), None, "no such interface");
        let Some(stage) = Stage::build() else { return };
        stage.at_near(|| {
            let veth = || Driver::of(index("near")).unwrap();
            assert!(
                veth().runs_programs() && !veth().takes_redirected() && !veth().has_zero_copy()
            );
            // Its other end polls then.
            stage.at_far(|| {
                let mut ethtool = std::process::Command::new("ethtool");
                assert!(ethtool.args(["-K", "far", "gro", "on"]).status().unwrap().success());
            });
            assert!(veth().takes_redirected());
        });
    }

    /// An answer as the kernel gave it for a veth interface, and all that it could become on a bad way.
    #[test]
    fn no_answer_of_any_length_or_content_is_read_beyond_its_end() {
        let mut whole = begin(20, SERIAL);
        whole.extend([GET_DEVICE, VERSION, 0, 0]);
        put_attribute(&mut whole, DEVICE, &[3, 0, 0, 0]);
        put_attribute(&mut whole, XDP_FEATURES, &[0x23, 0, 0, 0, 0, 0, 0, 0]);
        let whole = finish(whole);
        assert_eq!(value_of(&whole, 20, XDP_FEATURES), Some(&[0x23, 0, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(value_of(&whole, 2, XDP_FEATURES), None, "a refusal");
        assert_eq!(value_of(&whole, 20, 9), None);
        for len in 0..whole.len() {
            assert_eq!(value_of(&whole[..len], 20, XDP_FEATURES), None, "{len} octets");
            for octet in [0, 1, 3, 4, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[len] = octet;
                if let Some(value) = value_of(&changed, 20, XDP_FEATURES) {
                    assert!(value.len() <= whole.len());
                }
            }
        }
    }
}
