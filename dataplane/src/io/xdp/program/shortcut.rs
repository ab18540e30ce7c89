//! RTP that needs nothing but other addresses is relayed in the driver, back to where it came from
//! (`XDP_TX`) or out of another interface (`XDP_REDIRECT`): the worker writes into the
//! [`Table`](crate::io::xdp::shortcut::Table) what it would do with such a packet, and the program does it.
//!
//! ```text
//! IPv4, for port p of address a -> entry of [a][p]: on? -> source, SSRC, payload type as written?
//!     -> next number of an unbroken run? -> count, new addresses and checksums, out
//! any "no": to the worker, as without
//! ```
//! Everything but the usual packet is the worker's: other sources, RTCP, telephone events, a new SSRC,
//! what was reordered or repeated, headers with extensions or padding. So is one packet in 256, by
//! its number, so that the worker sees for itself what passes, and the neighbour is asked for.
//!
//! The UDP checksum is updated by the difference of the addresses (RFC 1624): damage on the way in
//! is found by the receiver. One that is absent stays absent (RFC 768). The bare sum over the pseudo
//! header, which a sender on this host leaves for a device to complete, is the worker's to complete.

use super::{
    CONTEXT, DATA, END, FIELD, KTIME_GET_NS, MAP_LOOKUP, NUMBER, PLACE, PORT, SCRATCH, need,
};
use crate::io::bpf::{Alu, Assembler, Jump, Label, Map, REDIRECT, Reg, Size};
use crate::io::xdp::shortcut::at;

/// What the program looks into.
#[derive(Clone, Copy)]
pub struct Shortcuts<'a> {
    pub entries: &'a Map,
    /// Lowest even port, and how many from there on have an entry, on each address.
    pub first: u16,
    pub pairs: u32,
}

/// Relays a datagram for port `PORT` of address `NUMBER`, or leaves to `steer` with both unchanged.
pub fn relay(a: &mut Assembler, shortcuts: Shortcuts<'_>, steer: Label) {
    find(a, shortcuts, steer);
    compare(a, steer);
    lengths_and_checksum(a, steer);
    number(a, steer);
    a.call(KTIME_GET_NS);
    reload(a, steer);
    time(a);
    count(a);
    rewrite(a);
    send(a);
}

/// Out by the interface that it came by, or by another.
fn send(a: &mut Assembler) {
    let elsewhere = a.label();
    a.load(Size::Dw, Reg::R1, Reg::R10, OUT);
    a.load(Size::W, SCRATCH, CONTEXT, INGRESS_IFINDEX);
    a.jump_reg(Jump::Ne, Reg::R1, SCRATCH, elsewhere);
    a.mov_imm(Reg::R0, XDP_TX);
    a.exit();
    a.place(elsewhere);
    a.mov_imm(Reg::R2, 0);
    a.call(REDIRECT);
    a.exit();
}

/// The entry into `PLACE`, if there is one and it is on.
fn find(a: &mut Assembler, shortcuts: Shortcuts<'_>, steer: Label) {
    a.mov(Reg::R1, PORT);
    a.swap_network(Reg::R1, 16);
    a.alu_imm(Alu::And, Reg::R1, 0xffff);
    a.jump(Jump::Set, Reg::R1, 1, steer);
    a.alu_imm(Alu::Sub, Reg::R1, shortcuts.first.into());
    // A lower port is a very large number now.
    a.jump(Jump::Ge, Reg::R1, 2 * shortcuts.pairs as i32, steer);
    a.alu_imm(Alu::Rsh, Reg::R1, 1);
    a.mov(SCRATCH, NUMBER);
    a.alu_imm(Alu::Mul, SCRATCH, shortcuts.pairs as i32);
    a.alu(Alu::Add, Reg::R1, SCRATCH);
    a.store(Size::W, Reg::R10, KEY, Reg::R1);
    a.map(Reg::R1, shortcuts.entries);
    a.mov(Reg::R2, Reg::R10);
    a.alu_imm(Alu::Add, Reg::R2, KEY.into());
    a.call(MAP_LOOKUP);
    a.jump(Jump::Eq, Reg::R0, 0, steer);
    a.mov(PLACE, Reg::R0);
    a.load(Size::Dw, Reg::R1, PLACE, at::STATE);
    a.jump(Jump::Eq, Reg::R1, 0, steer);
    a.store(Size::Dw, Reg::R10, OUT, Reg::R1);
    reload(a, steer);
}

/// The frame's beginning and end again, after a call.
fn reload(a: &mut Assembler, steer: Label) {
    a.load(Size::W, DATA, CONTEXT, 0);
    a.load(Size::W, END, CONTEXT, 4);
    need(a, RTP + RTP_HEADER, steer);
}

/// To `steer` unless it is a plain RTP packet from whom and of what was written.
fn compare(a: &mut Assembler, steer: Label) {
    a.load(Size::B, FIELD, DATA, RTP);
    a.jump(Jump::Ne, FIELD, RTP_VERSION, steer);
    a.load(Size::B, FIELD, DATA, RTP + 1);
    a.alu_imm(Alu::And, FIELD, 0x7f);
    a.load(Size::B, SCRATCH, PLACE, at::PAYLOAD_TYPE);
    a.jump_reg(Jump::Ne, FIELD, SCRATCH, steer);
    for (size, here, there) in [
        (Size::W, IP + 12, at::SOURCE_IP),
        (Size::H, UDP, at::SOURCE_PORT),
        (Size::W, RTP + 8, at::SSRC),
    ] {
        a.load(size, FIELD, DATA, here);
        a.load(size, SCRATCH, PLACE, there);
        a.jump_reg(Jump::Ne, FIELD, SCRATCH, steer);
    }
}

fn lengths_and_checksum(a: &mut Assembler, steer: Label) {
    load_network(a, Reg::R1, IP + 2);
    load_network(a, SCRATCH, UDP + 4);
    a.mov(FIELD, SCRATCH);
    a.alu_imm(Alu::Add, FIELD, IP_HEADER.into());
    a.jump_reg(Jump::Ne, FIELD, Reg::R1, steer);
    a.jump(Jump::Lt, Reg::R1, (IP_HEADER + UDP_HEADER + RTP_HEADER).into(), steer);
    a.load(Size::H, FIELD, PLACE, at::LENGTH_MAX);
    a.jump_reg(Jump::Gt, Reg::R1, FIELD, steer);
    a.mov(FIELD, DATA);
    a.alu_imm(Alu::Add, FIELD, IP.into());
    a.alu(Alu::Add, FIELD, Reg::R1);
    a.jump_reg(Jump::Gt, FIELD, END, steer);
    let absent = a.label();
    a.load(Size::H, FIELD, DATA, UDP + 6);
    a.jump(Jump::Eq, FIELD, 0, absent);
    a.load(Size::H, Reg::R1, DATA, UDP + 4);
    a.load(Size::H, SCRATCH, PLACE, at::PSEUDO_SUM);
    a.alu(Alu::Add, Reg::R1, SCRATCH);
    fold(a, Reg::R1, SCRATCH);
    a.jump_reg(Jump::Eq, Reg::R1, FIELD, steer);
    a.place(absent);
}

/// To `steer` unless the number follows the highest so far closely; how closely is kept in `STEP`.
fn number(a: &mut Assembler, steer: Label) {
    load_network(a, Reg::R1, RTP + 2);
    a.load(Size::Dw, SCRATCH, PLACE, at::HIGHEST);
    a.mov(FIELD, Reg::R1);
    a.alu(Alu::Sub, FIELD, SCRATCH);
    a.alu_imm(Alu::And, FIELD, 0xffff);
    a.jump(Jump::Eq, FIELD, 0, steer);
    a.jump(Jump::Gt, FIELD, STEP_MAX, steer);
    a.alu_imm(Alu::And, Reg::R1, SHOWN_MASK);
    a.jump(Jump::Eq, Reg::R1, 0, steer);
    a.store(Size::Dw, Reg::R10, STEP, FIELD);
}

/// Notes when it came, `R0`, and the jitter (RFC 3550 §A.8), as `quality` does.
fn time(a: &mut Assembler) {
    let [done, positive] = [a.label(), a.label()];
    a.mov(Reg::R1, Reg::R0);
    a.load(Size::Dw, SCRATCH, PLACE, at::ARRIVAL);
    a.store(Size::Dw, PLACE, at::ARRIVAL, Reg::R0);
    a.alu(Alu::Sub, Reg::R1, SCRATCH);
    a.load(Size::W, FIELD, DATA, RTP + 4);
    a.swap_network(FIELD, 32);
    a.load(Size::Dw, SCRATCH, PLACE, at::TIMESTAMP);
    a.store(Size::Dw, PLACE, at::TIMESTAMP, FIELD);
    a.alu(Alu::Sub, FIELD, SCRATCH);
    a.alu_imm(Alu::Lsh, FIELD, 32);
    a.alu_imm(Alu::Arsh, FIELD, 32);
    a.jump(Jump::Eq, FIELD, 0, done);
    // After a pause, and so that the product fits.
    a.jump(Jump::Gt, Reg::R1, i32::MAX, done);
    a.load(Size::W, SCRATCH, PLACE, at::TICKS);
    a.alu(Alu::Mul, Reg::R1, SCRATCH);
    a.alu_imm(Alu::Rsh, Reg::R1, 32);
    a.alu(Alu::Sub, Reg::R1, FIELD);
    a.mov(SCRATCH, Reg::R1);
    a.alu_imm(Alu::Rsh, SCRATCH, 63);
    a.jump(Jump::Eq, SCRATCH, 0, positive);
    a.mov_imm(SCRATCH, 0);
    a.alu(Alu::Sub, SCRATCH, Reg::R1);
    a.mov(Reg::R1, SCRATCH);
    a.place(positive);
    a.load(Size::W, SCRATCH, PLACE, at::RATE);
    a.jump_reg(Jump::Ge, Reg::R1, SCRATCH, done);
    a.load(Size::Dw, FIELD, PLACE, at::JITTER);
    a.alu(Alu::Add, Reg::R1, FIELD);
    a.alu_imm(Alu::Add, FIELD, 8);
    a.alu_imm(Alu::Rsh, FIELD, 4);
    a.alu(Alu::Sub, Reg::R1, FIELD);
    a.store(Size::Dw, PLACE, at::JITTER, Reg::R1);
    a.place(done);
}

fn count(a: &mut Assembler) {
    let unbroken = a.label();
    a.mov_imm(Reg::R1, 1);
    a.atomic_add(Size::Dw, PLACE, at::PACKETS, Reg::R1);
    load_network(a, Reg::R1, UDP + 4);
    a.alu_imm(Alu::Sub, Reg::R1, UDP_HEADER.into());
    a.atomic_add(Size::Dw, PLACE, at::OCTETS, Reg::R1);
    a.load(Size::Dw, Reg::R1, Reg::R10, STEP);
    a.load(Size::Dw, SCRATCH, PLACE, at::HIGHEST);
    a.alu(Alu::Add, SCRATCH, Reg::R1);
    a.store(Size::Dw, PLACE, at::HIGHEST, SCRATCH);
    a.jump(Jump::Eq, Reg::R1, 1, unbroken);
    a.load(Size::Dw, SCRATCH, PLACE, at::BURSTS);
    a.alu_imm(Alu::Add, SCRATCH, 1);
    a.store(Size::Dw, PLACE, at::BURSTS, SCRATCH);
    a.place(unbroken);
}

/// Headers as the worker would write them; see `io/frame`.
fn rewrite(a: &mut Assembler) {
    let [absent, done] = [a.label(), a.label()];
    let copy = |a: &mut Assembler, size, there, here| {
        a.load(size, Reg::R1, PLACE, there);
        a.store(size, DATA, here, Reg::R1);
    };
    // Both addresses of the Ethernet header.
    copy(a, Size::Dw, at::MACS, 0);
    copy(a, Size::W, at::MACS + 8, 8);
    copy(a, Size::B, at::TRAFFIC_CLASS, IP + 1);
    a.store_imm(Size::H, DATA, IP + 4, 0);
    a.store_imm(Size::H, DATA, IP + 6, DONT_FRAGMENT);
    a.store_imm(Size::B, DATA, IP + 8, HOP_LIMIT);
    a.load(Size::H, Reg::R1, DATA, IP + 2);
    a.load(Size::H, SCRATCH, PLACE, at::HEADER_SUM);
    a.alu(Alu::Add, Reg::R1, SCRATCH);
    fold(a, Reg::R1, SCRATCH);
    a.alu_imm(Alu::Xor, Reg::R1, 0xffff);
    a.store(Size::H, DATA, IP + 10, Reg::R1);
    copy(a, Size::W, at::NEW_SOURCE_IP, IP + 12);
    copy(a, Size::W, at::NEW_TARGET_IP, IP + 16);
    copy(a, Size::W, at::NEW_PORTS, UDP);
    a.load(Size::H, Reg::R1, DATA, UDP + 6);
    a.jump(Jump::Eq, Reg::R1, 0, absent);
    a.alu_imm(Alu::Xor, Reg::R1, 0xffff);
    a.load(Size::H, SCRATCH, PLACE, at::SUM_CHANGE);
    a.alu(Alu::Add, Reg::R1, SCRATCH);
    fold(a, Reg::R1, SCRATCH);
    a.alu_imm(Alu::Xor, Reg::R1, 0xffff);
    a.jump(Jump::Ne, Reg::R1, 0, done);
    a.mov_imm(Reg::R1, 0xffff);
    a.place(done);
    a.store(Size::H, DATA, UDP + 6, Reg::R1);
    a.place(absent);
}

/// The one's complement sum of two 16-bit numbers, of their sum.
fn fold(a: &mut Assembler, sum: Reg, scratch: Reg) {
    for _ in 0..2 {
        a.mov(scratch, sum);
        a.alu_imm(Alu::Rsh, scratch, 16);
        a.alu_imm(Alu::And, sum, 0xffff);
        a.alu(Alu::Add, sum, scratch);
    }
}

/// A 16-bit field in host order.
fn load_network(a: &mut Assembler, to: Reg, here: i16) {
    a.load(Size::H, to, DATA, here);
    a.swap_network(to, 16);
    a.alu_imm(Alu::And, to, 0xffff);
}

/// Where headers begin in an untagged frame, and their lengths.
const IP: i16 = 14;
const UDP: i16 = IP + IP_HEADER;
const RTP: i16 = UDP + UDP_HEADER;
const IP_HEADER: i16 = 20;
const UDP_HEADER: i16 = 8;
const RTP_HEADER: i16 = 12;
/// Version 2, no padding, extension or contributing source (RFC 3550 §5.1).
const RTP_VERSION: i32 = 0x80;
/// Numbers that may be missing: more are for the worker to judge.
const STEP_MAX: i32 = 100;
/// Packets whose number has none of these bits are shown to the worker.
const SHOWN_MASK: i32 = 0xff;
const HOP_LIMIT: i32 = 64;
/// In network order.
const DONT_FRAGMENT: i32 = 0x4000_u16.to_be() as i32;
/// On the stack.
const KEY: i16 = -8;
const STEP: i16 = -16;
const OUT: i16 = -24;
/// `struct xdp_md`
const INGRESS_IFINDEX: i16 = 12;
/// `enum xdp_action`
const XDP_TX: i32 = 3;

#[cfg(test)]
mod tests;
