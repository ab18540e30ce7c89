//! BPF programs of our own, by the raw system call: no compiler, no ELF, no library.
//!
//! ```text
//! Assembler -> [Insn] -> Program::load ----> Link::netns (sk_lookup), Link::xdp
//! Map::create -> map in an instruction   |     a program runs while its link's descriptor is open:
//!             -> Map::memory             |     a process that dies leaves none behind
//! ```
//! A crate of its own because the bench's stage has a program too. A leaf.
//!
//! Everything here happens at start, with privileges (CAP_BPF, CAP_NET_ADMIN). What changes later
//! is changed in [`Memory`], which the kernel's program reads too: the hardened process has no
//! bpf(2) any more.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub use asm::{Alu, AsmError, Assembler, Insn, Jump, Label, Reg, Size};
pub use memory::Memory;

mod asm;
#[expect(unsafe_code, reason = "bpf(2) takes addresses")]
mod call;
#[expect(unsafe_code, reason = "memory shared with a BPF program")]
mod memory;

/// Kinds of maps that are in use (`enum bpf_map_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapKind {
    Hash = 1,
    Array = 2,
    PercpuArray = 6,
    Devmap = 14,
    Sockmap = 15,
    Xskmap = 17,
}

/// What a map is made of; sizes in octets.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec {
    pub kind: MapKind,
    pub key: u32,
    pub value: u32,
    pub entries: u32,
    /// May be mapped by [`Map::memory`]; arrays only.
    pub mapped: bool,
    /// Shown by `bpftool map`; at most 15 characters count.
    pub name: &'static str,
}

/// A map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    spec: MapSpec,
}

impl Map {
    /// # Errors
    /// The kernel's: no privilege (EPERM), no memory, no such kind.
    pub fn create(spec: MapSpec) -> io::Result<Map> {
        let fd = call::map_create(&spec)?;
        Ok(Map { fd, spec })
    }

    /// Sets one entry.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when a length is wrong, else the kernel's.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.len() != self.spec.key as usize || value.len() != self.spec.value as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        call::map_update(self.fd.as_fd(), key, value)
    }

    /// Puts a socket into a map of sockets.
    ///
    /// # Errors
    /// As [`Map::update`].
    pub fn put_socket(&self, place: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let fd = socket.as_raw_fd() as u32;
        self.update(&place.to_ne_bytes(), &fd.to_ne_bytes())
    }

    /// Removes one entry; of an array that means zeroes or refusal, by its kind.
    ///
    /// # Errors
    /// As [`Map::update`]; ENOENT when there is none.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        if key.len() != self.spec.key as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        call::map_delete(self.fd.as_fd(), key)
    }

    /// Reads one entry.
    ///
    /// # Errors
    /// As [`Map::update`]; ENOENT when there is none.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        if key.len() != self.spec.key as usize || value.len() != self.spec.value as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        call::map_lookup(self.fd.as_fd(), key, value)
    }

    /// The values of a mapped array as memory.
    ///
    /// # Errors
    /// Those of `mmap(2)`.
    pub fn memory(&self) -> io::Result<Memory> {
        let value = (self.spec.value as usize).next_multiple_of(8);
        Memory::of(self.fd.as_fd(), value * self.spec.entries as usize)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Kinds of programs that are in use (`enum bpf_prog_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProgramKind {
    /// Runs for each received datagram or connection that no connected socket takes, and chooses
    /// the socket.
    SkLookup,
    /// Runs for each frame in the driver.
    Xdp,
}

impl ProgramKind {
    /// Its number, and that of the place where it is attached (`enum bpf_attach_type`).
    const fn numbers(self) -> (u32, u32) {
        match self {
            ProgramKind::SkLookup => (30, ATTACH_SK_LOOKUP),
            ProgramKind::Xdp => (6, ATTACH_XDP),
        }
    }
}

/// A loaded program. It stays loaded while it or a [`Link`] of it is there.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    kind: ProgramKind,
}

impl Program {
    /// Has the kernel verify and load a program.
    ///
    /// # Errors
    /// What the kernel refused, with the verifier's own words.
    pub fn load(
        kind: ProgramKind,
        code: &[Insn],
        name: &'static str,
    ) -> Result<Program, LoadError> {
        match call::program_load(kind.numbers(), code, name, None) {
            Ok(fd) => Ok(Program { fd, kind }),
            Err(_) => {
                let mut log = vec![0; LOG_ROOM];
                // Once more for the log: with room for one, the kernel works longer.
                match call::program_load(kind.numbers(), code, name, Some(&mut log)) {
                    Ok(fd) => Ok(Program { fd, kind }),
                    Err(cause) => {
                        let end = log.iter().position(|octet| *octet == 0).unwrap_or(log.len());
                        log.truncate(end);
                        let log = String::from_utf8_lossy(&log).trim_end().to_owned();
                        Err(LoadError { cause, log })
                    }
                }
            }
        }
    }

    /// Runs the program once on a frame of at most `room` octets: its verdict and the frame then. For
    /// tests of programs (BPF_PROG_TEST_RUN).
    pub fn run(&self, frame: &[u8], room: usize) -> io::Result<(u32, Vec<u8>)> {
        let mut out = vec![0; room];
        let verdict = call::program_run(self.fd.as_fd(), frame, &mut out)?;
        Ok((verdict, out))
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Why a program was not loaded.
#[derive(Debug)]
pub struct LoadError {
    pub cause: io::Error,
    /// The verifier's; empty when the program was not looked at (no privilege).
    pub log: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BPF program refused: {}", self.cause)?;
        // The verdict stands in the last lines.
        let last = self.log.lines().rev().take(LOG_LINES).collect::<Vec<_>>();
        last.iter().rev().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl std::error::Error for LoadError {}

impl From<LoadError> for io::Error {
    fn from(error: LoadError) -> io::Error {
        io::Error::new(error.cause.kind(), error)
    }
}

/// Where a driver runs an XDP program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XdpMode {
    /// In the driver, before the kernel has made anything of the frame.
    Native,
    /// Anywhere, slowly: for tests.
    Generic,
}

/// A program in its place, until this is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches an sk_lookup program to this thread's network namespace.
    ///
    /// # Errors
    /// The kernel's: no privilege, 64 programs there already (E2BIG).
    pub fn netns(program: &Program) -> io::Result<Link> {
        let namespace = File::open("/proc/thread-self/ns/net")?;
        let target = namespace.as_raw_fd() as u32;
        let (_, attach) = program.kind.numbers();
        let fd = call::link_create(program.as_fd(), target, attach, 0)?;
        Ok(Link { fd })
    }

    /// Attaches an XDP program to an interface.
    ///
    /// # Errors
    /// The kernel's: the driver has no XDP (EOPNOTSUPP), another program is there (EBUSY), MTU or
    /// offloads forbid it (EINVAL).
    pub fn xdp(program: &Program, ifindex: u32, mode: XdpMode) -> io::Result<Link> {
        let flags = match mode {
            XdpMode::Native => XDP_FLAGS_DRV_MODE,
            XdpMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let (_, attach) = program.kind.numbers();
        let fd = call::link_create(program.as_fd(), ifindex, attach, flags)?;
        Ok(Link { fd })
    }

    /// Attaches a program to an interface that passes every frame, as if there were none. With one a
    /// veth takes what its other end's driver sends by itself (`XDP_TX`).
    ///
    /// # Errors
    /// As [`Link::xdp`] natively, and [`LoadError`].
    pub fn xdp_pass(ifindex: u32) -> io::Result<Link> {
        let mut pass = Assembler::new();
        pass.mov_imm(Reg::R0, XDP_PASS);
        pass.exit();
        let code = pass.finish().map_err(io::Error::other)?;
        Link::xdp(&Program::load(ProgramKind::Xdp, &code, "tl_pass")?, ifindex, XdpMode::Native)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `enum xdp_action`: the frame goes on to the kernel.
pub const XDP_PASS: i32 = 2;
/// `bpf_redirect`: the frame leaves by another interface.
pub const REDIRECT: i32 = 23;
const ATTACH_SK_LOOKUP: u32 = 36;
const ATTACH_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Room for the verifier's log.
const LOG_ROOM: usize = 64 << 10;
/// Lines of it that an error shows.
const LOG_LINES: usize = 12;

#[cfg(test)]
mod tests;
