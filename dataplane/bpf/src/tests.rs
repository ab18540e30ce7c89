//! The assembler alone, and the loader against this kernel where the test may (root).

use super::*;

fn may() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn instructions_are_encoded_as_the_kernel_documents_them() {
    let mut a = Assembler::new();
    let (out, back) = (a.label(), a.label());
    a.place(back);
    a.load(Size::W, Reg::R2, Reg::R1, 12);
    a.jump(Jump::Ne, Reg::R2, 17, out);
    a.store(Size::B, Reg::R10, -1, Reg::R2);
    a.store_imm(Size::Dw, Reg::R10, -16, -2);
    a.alu(Alu::Add, Reg::R0, Reg::R7);
    a.alu_imm(Alu::And, Reg::R7, 0xffff);
    a.swap_network(Reg::R3, 16);
    a.jump32(Jump::Eq, Reg::R4, 0x0100_007f, back);
    a.call(1);
    a.place(out);
    a.mov_imm(Reg::R0, 1);
    a.exit();
    let code: Vec<u64> = a
        .finish()
        .unwrap()
        .iter()
        .map(|i| {
            u64::from(i.code)
                | u64::from(i.registers) << 8
                | u64::from(i.offset as u16) << 16
                | u64::from(i.immediate as u32) << 32
        })
        .collect();
    // By `bpf_asm`'s tables (RFC 9669 §4, §5).
    let expected: [u64; 11] = [
        0x0000_0000_000c_1261,
        0x0000_0011_0007_0255,
        0x0000_0000_ffff_2a73,
        0xffff_fffe_fff0_0a7a,
        0x0000_0000_0000_700f,
        0x0000_ffff_0000_0757,
        0x0000_0010_0000_03dc,
        0x0100_007f_fff8_0416,
        0x0000_0001_0000_0085,
        0x0000_0001_0000_00b7,
        0x0000_0000_0000_0095,
    ];
    assert_eq!(code, expected, "{code:016x?}");
}

#[test]
fn a_label_must_be_placed_and_near() {
    let mut a = Assembler::new();
    let label = a.label();
    a.goto(label);
    assert_eq!(a.finish(), Err(AsmError::LabelNotPlaced));
    let mut a = Assembler::new();
    let label = a.label();
    a.goto(label);
    (0..40_000).for_each(|_| a.exit());
    a.place(label);
    assert_eq!(a.finish(), Err(AsmError::JumpTooLong));
}

#[test]
fn a_refused_program_is_explained_by_the_verifier() {
    if !may() {
        return;
    }
    let mut a = Assembler::new();
    // R0 was never set.
    a.exit();
    let error = Program::load(ProgramKind::Xdp, &a.finish().unwrap(), "tl_bad").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("refused") && text.contains("R0 !read_ok"), "{text}");
}

#[test]
fn a_map_holds_what_is_put_and_its_memory_is_the_same() {
    if !may() {
        return;
    }
    let spec = MapSpec {
        kind: MapKind::Array,
        key: 4,
        value: 4096,
        entries: 2,
        mapped: true,
        name: "tl_test",
    };
    let map = Map::create(spec).unwrap();
    let memory = map.memory().unwrap();
    memory.set_octet(4096 + 7, 9);
    let mut value = [0; 4096];
    map.lookup(&1_u32.to_ne_bytes(), &mut value).unwrap();
    assert_eq!((value[7], memory.octet(4096 + 7)), (9, 9));
    value[8] = 3;
    map.update(&0_u32.to_ne_bytes(), &value).unwrap();
    assert_eq!(memory.octet(8), 3);
    assert_eq!(memory.word(1).unwrap().load(std::sync::atomic::Ordering::Relaxed), 3);
    assert!(memory.word(2 * 512).is_none());
    memory.set_octet(2 * 4096, 1);
    assert_eq!(memory.octet(2 * 4096), 0, "beyond the end there is nothing");
    assert!(map.update(&[0], &value).is_err(), "a key of another length");
    assert!(map.lookup(&2_u32.to_ne_bytes(), &mut value).is_err(), "no such entry");
}
