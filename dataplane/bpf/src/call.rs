//! The system call. Its argument is a union of structures that only ever grow; each is written here
//! as far as it is used, and the kernel takes what is missing for zeroes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Insn, MapSpec};

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; NAME_ROOM],
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_ROOM],
    ifindex: u32,
    attach: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ProgramRun {
    program: u32,
    result: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

pub fn map_create(spec: &MapSpec) -> io::Result<OwnedFd> {
    let attr = MapCreate {
        kind: spec.kind as u32,
        key: spec.key,
        value: spec.value,
        entries: spec.entries,
        flags: if spec.mapped { MMAPABLE } else { 0 },
        name: name(spec.name),
        ..MapCreate::default()
    };
    // SAFETY: `attr` is the structure of this command and holds no address.
    unsafe { bpf_fd(MAP_CREATE, &attr) }
}

pub fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let attr = element(map, key, value.as_ptr() as u64);
    // SAFETY: key and value live through the call and have the map's lengths, which the only
    // caller checks; the kernel reads both.
    unsafe { bpf(MAP_UPDATE, &attr) }.map(drop)
}

pub fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let attr = element(map, key, 0);
    // SAFETY: the key lives through the call and has the map's length, which the only caller
    // checks.
    unsafe { bpf(MAP_DELETE, &attr) }.map(drop)
}

pub fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let attr = element(map, key, value.as_mut_ptr() as u64);
    // SAFETY: as in `map_update`, but the kernel writes the value, which is borrowed for that.
    unsafe { bpf(MAP_LOOKUP, &attr) }.map(drop)
}

/// `kind`: program type and expected attach type.
pub fn program_load(
    (kind, attach): (u32, u32),
    code: &[Insn],
    name: &'static str,
    log: Option<&mut [u8]>,
) -> io::Result<OwnedFd> {
    let (log_level, log_size, log) = match log {
        Some(log) => (1, log.len() as u32, log.as_mut_ptr() as u64),
        None => (0, 0, 0),
    };
    let attr = ProgramLoad {
        kind,
        attach,
        insn_count: code.len() as u32,
        insns: code.as_ptr() as u64,
        // None of the functions that we call asks for the GPL.
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level,
        log_size,
        log,
        name: self::name(name),
        ..ProgramLoad::default()
    };
    // SAFETY: code, licence and log live through the call; the kernel writes the log alone, which
    // is borrowed for that, up to its size.
    unsafe { bpf_fd(PROG_LOAD, &attr) }
}

/// Runs a program once on `data`; returns its verdict, and writes what it made of the data.
pub fn program_run(program: BorrowedFd<'_>, data: &[u8], out: &mut Vec<u8>) -> io::Result<u32> {
    let mut attr = ProgramRun {
        program: program.as_raw_fd() as u32,
        size_in: data.len() as u32,
        size_out: out.len() as u32,
        data_in: data.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        ..ProgramRun::default()
    };
    // SAFETY: the data live through the call; the kernel writes `out` up to its size, and the
    // results into `attr`, both of which are borrowed for that.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut attr, size_of::<ProgramRun>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(attr.size_out as usize);
    Ok(attr.result)
}

/// `target`: a descriptor or an interface, by the program's kind.
pub fn link_create(
    program: BorrowedFd<'_>,
    target: u32,
    attach: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let attr = LinkCreate { program: program.as_raw_fd() as u32, target, attach, flags };
    // SAFETY: `attr` is the structure of this command and holds no address.
    unsafe { bpf_fd(LINK_CREATE, &attr) }
}

fn element(map: BorrowedFd<'_>, key: &[u8], value: u64) -> MapElement {
    let (map, key) = (map.as_raw_fd() as u32, key.as_ptr() as u64);
    MapElement { map, key, value, ..MapElement::default() }
}

/// # Safety
/// As [`bpf`], and the command must be one that returns a descriptor.
unsafe fn bpf_fd<A>(command: libc::c_int, attr: &A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel made this descriptor for us just now; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `A` must be the structure of `command`, and what it points to must be valid for it.
unsafe fn bpf<A>(command: libc::c_int, attr: &A) -> io::Result<i32> {
    // SAFETY: the caller's promise; the size is that of the structure.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// The kernel wants a zero at the end.
fn name(text: &str) -> [u8; NAME_ROOM] {
    let mut name = [0; NAME_ROOM];
    for (place, octet) in name.iter_mut().take(NAME_ROOM - 1).zip(text.bytes()) {
        *place = octet;
    }
    name
}

const NAME_ROOM: usize = 16;
const MMAPABLE: u32 = 1 << 10;
const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const PROG_TEST_RUN: libc::c_int = 10;

// No padding that would be passed to the kernel unwritten.
const _: () = assert!(size_of::<MapCreate>() == 28 + NAME_ROOM);
const _: () = assert!(size_of::<MapElement>() == 32);
const _: () = assert!(size_of::<ProgramLoad>() == 56 + NAME_ROOM);
const _: () = assert!(size_of::<LinkCreate>() == 16);
