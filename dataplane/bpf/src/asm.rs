//! A small assembler: instructions by name, jumps by label.
//!
//! An instruction has 64 bits: operation, two registers, a 16-bit offset, a 32-bit immediate
//! (RFC 9669). Loading a map or a 64-bit constant takes two.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use super::Map;

/// One instruction as the kernel reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Insn {
    pub code: u8,
    /// Destination in the lower four bits, source in the upper.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// Registers: R0 holds results, R1 to R5 arguments, R6 to R9 survive calls, R10 is the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Width of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Size {
    /// One octet.
    B = 0x10,
    /// Two.
    H = 0x08,
    /// Four.
    W = 0x00,
    /// Eight.
    Dw = 0x18,
}

/// Arithmetic on 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Xor = 0xa0,
    Mov = 0xb0,
    /// To the right with the sign kept.
    Arsh = 0xc0,
}

/// Conditions; comparisons are unsigned on 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Jump {
    Eq = 0x10,
    Gt = 0x20,
    Ge = 0x30,
    /// Any bit in common.
    Set = 0x40,
    Ne = 0x50,
    Lt = 0xa0,
    Le = 0xb0,
}

/// A place to jump to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// A program in the making.
#[derive(Default)]
pub struct Assembler {
    code: Vec<Insn>,
    /// Where each label was placed.
    labels: Vec<Option<usize>>,
    /// Instructions whose offset is still to be filled in.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// A label, to be placed once.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The next instruction is where `label` is.
    pub fn place(&mut self, label: Label) {
        let here = self.code.len();
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// `to = *(from + offset)`
    pub fn load(&mut self, size: Size, to: Reg, from: Reg, offset: i16) {
        self.push(LDX_MEM | size as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = from`
    pub fn store(&mut self, size: Size, to: Reg, offset: i16, from: Reg) {
        self.push(STX_MEM | size as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = value`
    pub fn store_imm(&mut self, size: Size, to: Reg, offset: i16, value: i32) {
        self.push(ST_MEM | size as u8, to, Reg::R0, offset, value);
    }

    /// `*(to + offset) += from`, by all processors at once; [`Size::W`] or [`Size::Dw`].
    pub fn atomic_add(&mut self, size: Size, to: Reg, offset: i16, from: Reg) {
        self.push(STX_ATOMIC | size as u8, to, from, offset, 0);
    }

    /// `to = from`
    pub fn mov(&mut self, to: Reg, from: Reg) {
        self.alu(Alu::Mov, to, from);
    }

    /// `to = value`
    pub fn mov_imm(&mut self, to: Reg, value: i32) {
        self.alu_imm(Alu::Mov, to, value);
    }

    /// `to = to OP from`
    pub fn alu(&mut self, op: Alu, to: Reg, from: Reg) {
        self.push(ALU64 | SOURCE_REGISTER | op as u8, to, from, 0, 0);
    }

    /// `to = to OP value`
    pub fn alu_imm(&mut self, op: Alu, to: Reg, value: i32) {
        self.push(ALU64 | op as u8, to, Reg::R0, 0, value);
    }

    /// The lower 32 bits of `to`, signs and the rest forgotten.
    pub fn low_half(&mut self, to: Reg) {
        self.push(ALU32 | SOURCE_REGISTER | Alu::Mov as u8, to, to, 0, 0);
    }

    /// Turns the lower `bits` (16, 32 or 64) of `to` from network to host order, or back.
    pub fn swap_network(&mut self, to: Reg, bits: i32) {
        self.push(ALU32 | SOURCE_REGISTER | END, to, Reg::R0, 0, bits);
    }

    /// To `label` if `one OP value`.
    pub fn jump(&mut self, op: Jump, one: Reg, value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(JMP | op as u8, one, Reg::R0, 0, value);
    }

    /// To `label` if `one OP other`.
    pub fn jump_reg(&mut self, op: Jump, one: Reg, other: Reg, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(JMP | SOURCE_REGISTER | op as u8, one, other, 0, 0);
    }

    /// To `label` if the lower 32 bits are equal to those of `value`, or are not.
    pub fn jump32(&mut self, op: Jump, one: Reg, value: u32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(JMP32 | op as u8, one, Reg::R0, 0, value as i32);
    }

    /// To `label`.
    pub fn goto(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(JMP, Reg::R0, Reg::R0, 0, 0);
    }

    /// `to = map`, for a call. The map must live until the program is loaded.
    pub fn map(&mut self, to: Reg, map: &Map) {
        let fd = map.as_fd().as_raw_fd();
        let registers = to as u8 | PSEUDO_MAP_FD << 4;
        self.code.push(Insn { code: LD_IMM64, registers, offset: 0, immediate: fd });
        self.code.push(Insn { code: 0, registers: 0, offset: 0, immediate: 0 });
    }

    /// Calls one of the kernel's functions by its number (`enum bpf_func_id`).
    pub fn call(&mut self, function: i32) {
        self.push(JMP | CALL, Reg::R0, Reg::R0, 0, function);
    }

    /// Ends the program with R0 as its verdict.
    pub fn exit(&mut self) {
        self.push(JMP | EXIT, Reg::R0, Reg::R0, 0, 0);
    }

    /// The program, with every jump filled in.
    ///
    /// # Errors
    /// [`AsmError`]: a defect of who wrote the program.
    pub fn finish(mut self) -> Result<Vec<Insn>, AsmError> {
        for (at, label) in self.jumps {
            let target = self.labels.get(label.0).copied().flatten();
            let target = target.ok_or(AsmError::LabelNotPlaced)?;
            let distance = target as i64 - (at as i64 + 1);
            let insn = self.code.get_mut(at).ok_or(AsmError::LabelNotPlaced)?;
            insn.offset = i16::try_from(distance).map_err(|_| AsmError::JumpTooLong)?;
        }
        Ok(self.code)
    }

    fn push(&mut self, code: u8, to: Reg, from: Reg, offset: i16, immediate: i32) {
        let registers = to as u8 | (from as u8) << 4;
        self.code.push(Insn { code, registers, offset, immediate });
    }
}

/// Why a program is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsmError {
    LabelNotPlaced,
    JumpTooLong,
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AsmError::LabelNotPlaced => "a label was jumped to and never placed",
            AsmError::JumpTooLong => "a jump goes over more than 32767 instructions",
        })
    }
}

impl std::error::Error for AsmError {}

const LD_IMM64: u8 = 0x18;
const LDX_MEM: u8 = 0x61;
const ST_MEM: u8 = 0x62;
const STX_MEM: u8 = 0x63;
const STX_ATOMIC: u8 = 0xc3;
const ALU32: u8 = 0x04;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
const SOURCE_REGISTER: u8 = 0x08;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const END: u8 = 0xd0;
/// The immediate is a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;

const _: () = assert!(size_of::<Insn>() == 8);
