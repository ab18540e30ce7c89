//! The XDP program of one interface: takes media for our addresses and ports out of the driver, and
//! leaves everything else to the kernel.
//!
//! ```text
//! for us? (MAC, VLAN) -> IPv4 without options or fragments, IPv6 without extensions, UDP?
//!     -> one of our addresses? -> a port that worker w has open? -> socket of w on this queue
//! any "no", and no such socket: XDP_PASS
//! ```
//! ARP, neighbour discovery, ICMP, fragments, SSH and SIP therefore reach the kernel as ever, and so
//! does media that came by the queue of another worker: the fan-in sockets have it there.
//!
//! Which ports are open, and whose they are, is the memory that `packet::steering` keeps, so that both
//! programs agree. Addresses and MAC are constants in the instructions: a chain of comparisons costs
//! less than looking into a map, and there are few.

use std::net::IpAddr;

use crate::io::bpf::{Alu, AsmError, Assembler, Insn, Jump, Label, Map, Reg, Size, XDP_PASS};
use crate::limits::QUEUES_MAX;
pub use shortcut::Shortcuts;

mod shortcut;

/// What an interface's program decides by.
pub struct Decision<'a> {
    pub mac: [u8; 6],
    /// Our media addresses behind the interface.
    pub addresses: &'a [Ours],
    /// For each number of an address: an octet per port, 0 or the worker counted from 1.
    pub ports: &'a Map,
    /// AF_XDP sockets, in the order of [`place`].
    pub sockets: &'a Map,
    /// What is relayed without a worker, if anything is.
    pub shortcuts: Option<Shortcuts<'a>>,
}

/// One of our addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ours {
    pub ip: IpAddr,
    /// The VLAN that it is in, if any.
    pub vlan: Option<u16>,
    /// Its entry in the map of ports.
    pub number: u32,
}

/// Where the socket of a worker for a queue is in the map of sockets.
pub fn place(worker: u32, queue: u32) -> u32 {
    worker * QUEUES_MAX + queue
}

/// Octets in front of a frame whose receipt the program stamped: time, mark.
pub const STAMP: usize = 16;
/// The mark of a stamp, so that nothing else is taken for one.
pub const STAMP_MARK: u64 = 0x544b_4c4e_5354_4d50;

/// Whether frames to this port are stamped: one RTP port in 32.
pub fn is_stamped(port: u16) -> bool {
    i32::from(port) & STAMPED_MASK == 0
}

/// The instructions.
///
/// # Errors
/// More addresses than one program can compare with.
pub fn assemble(decision: &Decision<'_>) -> Result<Vec<Insn>, AsmError> {
    let mut a = Assembler::new();
    let [pass, steer, short] = [a.label(), a.label(), a.label()];
    a.mov(CONTEXT, Reg::R1);
    a.load(Size::W, DATA, CONTEXT, 0);
    a.load(Size::W, END, CONTEXT, 4);
    // Larger than a buffer: no media of ours.
    a.mov(SCRATCH, DATA);
    a.alu_imm(Alu::Add, SCRATCH, FRAME_MAX);
    a.jump_reg(Jump::Lt, SCRATCH, END, pass);
    need(&mut a, ETHERNET + IPV4 + UDP, pass);
    for (at, octets) in (0_i16..).step_by(2).zip(decision.mac.chunks_exact(2)) {
        unless_equal(&mut a, at, octets, pass);
    }
    let mut tags: Vec<Option<u16>> = decision.addresses.iter().map(|ours| ours.vlan).collect();
    tags.sort_unstable();
    tags.dedup();
    for tag in tags {
        let next = a.label();
        let of_tag: Vec<Ours> =
            decision.addresses.iter().filter(|ours| ours.vlan == tag).copied().collect();
        let ip_at = if let Some(tag) = tag {
            unless_equal(&mut a, 12, &[0x81, 0x00], next);
            a.load(Size::H, FIELD, DATA, 14);
            a.swap_network(FIELD, 16);
            a.alu_imm(Alu::And, FIELD, 0x0fff);
            a.jump(Jump::Ne, FIELD, tag.into(), next);
            ETHERNET + VLAN_TAG
        } else {
            ETHERNET
        };
        let untagged = tag.is_none() && decision.shortcuts.is_some();
        ipv4(&mut a, ip_at, &of_tag, if untagged { short } else { steer }, pass);
        ipv6(&mut a, ip_at, &of_tag, steer, pass);
        a.place(next);
    }
    a.place(pass);
    a.mov_imm(Reg::R0, XDP_PASS);
    a.exit();
    a.place(short);
    if let Some(shortcuts) = decision.shortcuts {
        shortcut::relay(&mut a, shortcuts, steer);
    }
    a.place(steer);
    redirect(&mut a, decision, pass);
    a.finish()
}

/// An IPv4 header at `at`: to `steer` with `NUMBER` and `PORT`, else to `pass`; behind these
/// instructions when it is no IPv4 at all.
fn ipv4(a: &mut Assembler, at: i16, addresses: &[Ours], steer: Label, pass: Label) {
    let next = a.label();
    unless_equal(a, at - 2, &[0x08, 0x00], next);
    need(a, at + IPV4 + UDP, pass);
    a.load(Size::B, FIELD, DATA, at);
    a.jump(Jump::Ne, FIELD, 0x45, pass);
    // A fragment has an offset or more behind it.
    a.load(Size::H, FIELD, DATA, at + 6);
    a.swap_network(FIELD, 16);
    a.alu_imm(Alu::And, FIELD, 0x3fff);
    a.jump(Jump::Ne, FIELD, 0, pass);
    a.load(Size::B, FIELD, DATA, at + 9);
    a.jump(Jump::Ne, FIELD, UDP_PROTOCOL, pass);
    a.load(Size::H, PORT, DATA, at + IPV4 + 2);
    for ours in addresses {
        if let IpAddr::V4(ip) = ours.ip {
            destination(a, at + 16, &ip.octets(), ours.number, steer);
        }
    }
    a.goto(pass);
    a.place(next);
}

/// The same for IPv6.
fn ipv6(a: &mut Assembler, at: i16, addresses: &[Ours], steer: Label, pass: Label) {
    let next = a.label();
    unless_equal(a, at - 2, &[0x86, 0xdd], next);
    need(a, at + IPV6 + UDP, pass);
    a.load(Size::B, FIELD, DATA, at);
    a.alu_imm(Alu::And, FIELD, 0xf0);
    a.jump(Jump::Ne, FIELD, 0x60, pass);
    a.load(Size::B, FIELD, DATA, at + 6);
    a.jump(Jump::Ne, FIELD, UDP_PROTOCOL, pass);
    a.load(Size::H, PORT, DATA, at + IPV6 + 2);
    for ours in addresses {
        if let IpAddr::V6(ip) = ours.ip {
            destination(a, at + 24, &ip.octets(), ours.number, steer);
        }
    }
    a.goto(pass);
    a.place(next);
}

/// To `steer` with `NUMBER` when the address at `at` is `octets`.
fn destination(a: &mut Assembler, at: i16, octets: &[u8], number: u32, steer: Label) {
    let other = a.label();
    for (at, octets) in (at..).step_by(2).zip(octets.chunks_exact(2)) {
        unless_equal(a, at, octets, other);
    }
    a.mov_imm(NUMBER, number as i32);
    a.goto(steer);
    a.place(other);
}

/// To the socket of the worker who has the port open, if there is one on this queue.
fn redirect(a: &mut Assembler, decision: &Decision<'_>, pass: Label) {
    a.swap_network(PORT, 16);
    a.alu_imm(Alu::And, PORT, 0xffff);
    a.store(Size::W, Reg::R10, -4, NUMBER);
    a.map(Reg::R1, decision.ports);
    a.mov(Reg::R2, Reg::R10);
    a.alu_imm(Alu::Add, Reg::R2, -4);
    a.call(MAP_LOOKUP);
    a.jump(Jump::Eq, Reg::R0, 0, pass);
    a.alu(Alu::Add, Reg::R0, PORT);
    a.load(Size::B, PLACE, Reg::R0, 0);
    a.jump(Jump::Eq, PLACE, 0, pass);
    // As `place` does.
    a.alu_imm(Alu::Sub, PLACE, 1);
    a.alu_imm(Alu::Lsh, PLACE, QUEUES_MAX.ilog2() as i32);
    a.load(Size::W, SCRATCH, CONTEXT, RX_QUEUE_INDEX);
    a.jump(Jump::Ge, SCRATCH, QUEUES_MAX as i32, pass);
    a.alu(Alu::Add, PLACE, SCRATCH);
    stamp(a);
    a.map(Reg::R1, decision.sockets);
    a.mov(Reg::R2, PLACE);
    // What happens to the frame when there is no such socket.
    a.mov_imm(Reg::R3, XDP_PASS);
    a.call(REDIRECT_MAP);
    a.exit();
}

/// Writes the time in front of a frame that is to be stamped. Drivers without room for that go
/// without.
fn stamp(a: &mut Assembler) {
    let done = a.label();
    a.alu_imm(Alu::And, PORT, STAMPED_MASK);
    a.jump(Jump::Ne, PORT, 0, done);
    a.mov(Reg::R1, CONTEXT);
    a.mov_imm(Reg::R2, -(STAMP as i32));
    a.call(ADJUST_META);
    a.jump(Jump::Ne, Reg::R0, 0, done);
    a.call(KTIME_GET_NS);
    a.load(Size::W, Reg::R1, CONTEXT, 8);
    a.load(Size::W, Reg::R2, CONTEXT, 0);
    a.mov(Reg::R3, Reg::R1);
    a.alu_imm(Alu::Add, Reg::R3, STAMP as i32);
    a.jump_reg(Jump::Gt, Reg::R3, Reg::R2, done);
    a.store(Size::Dw, Reg::R1, 0, Reg::R0);
    for (at, half) in (8_i16..).step_by(4).zip(STAMP_MARK.to_ne_bytes().chunks_exact(4)) {
        let half = <[u8; 4]>::try_from(half).unwrap_or_default();
        a.store_imm(Size::W, Reg::R1, at, i32::from_ne_bytes(half));
    }
    a.place(done);
}

/// To `pass` when the frame is shorter than `octets`.
fn need(a: &mut Assembler, octets: i16, pass: Label) {
    a.mov(SCRATCH, DATA);
    a.alu_imm(Alu::Add, SCRATCH, octets.into());
    a.jump_reg(Jump::Gt, SCRATCH, END, pass);
}

/// To `other` when the two octets at `at` are not `octets`.
fn unless_equal(a: &mut Assembler, at: i16, octets: &[u8], other: Label) {
    let value = <[u8; 2]>::try_from(octets).map_or(0, u16::from_ne_bytes);
    a.load(Size::H, FIELD, DATA, at);
    a.jump(Jump::Ne, FIELD, value.into(), other);
}

const DATA: Reg = Reg::R2;
const END: Reg = Reg::R3;
const SCRATCH: Reg = Reg::R4;
/// What was read last.
const FIELD: Reg = Reg::R5;
/// These survive calls.
const CONTEXT: Reg = Reg::R6;
const PLACE: Reg = Reg::R7;
const NUMBER: Reg = Reg::R8;
const PORT: Reg = Reg::R9;

const ETHERNET: i16 = 14;
const VLAN_TAG: i16 = 4;
const IPV4: i16 = 20;
const IPV6: i16 = 40;
const UDP: i16 = 8;
const UDP_PROTOCOL: i32 = 17;
/// The largest packet with all headers, below what a buffer of 2 KiB holds behind the kernel's 256
/// octets of head room.
const FRAME_MAX: i32 = 1600;
/// Stamped are ports of which these bits are 0.
const STAMPED_MASK: i32 = 0x3f;

/// `struct xdp_md`
const RX_QUEUE_INDEX: i16 = 16;
/// `enum bpf_func_id`
const MAP_LOOKUP: i32 = 1;
const KTIME_GET_NS: i32 = 5;
const REDIRECT_MAP: i32 = 51;
const ADJUST_META: i32 = 54;

const _: () = assert!(QUEUES_MAX.is_power_of_two());

#[cfg(test)]
mod tests;
