//! Which datagram comes to which worker: an sk_lookup program over the media addresses and ports.
//!
//! ```text
//! datagram for address a, port p --> sk_lookup: a of ours? octet at [a][p]?
//!    0 or not ours: as if there were no program (another's socket, or "port unreachable")
//!    n:             the fan-in socket of worker n - 1 and of the family
//! ```
//! The octets are memory that the workers write: a port opens and closes by one store, without a
//! system call, a descriptor or a privilege. Connected sockets of others come before the program,
//! unconnected ones after it.

use std::io;
use std::net::IpAddr;

use crate::io::Endpoint;
use crate::io::bpf::{
    Alu, AsmError, Assembler, Insn, Jump, Link, LoadError, Map, MapKind, MapSpec, Memory, Program,
    ProgramKind, Reg, Size,
};

/// The program in its place, and what it goes by. It ends with this value, or with the process.
pub struct Steering {
    ports: Memory,
    map: Map,
    addresses: Vec<u128>,
    _link: Link,
}

/// The maps, before the program is attached.
pub struct Maps {
    ports: Map,
    sockets: Map,
    addresses: Vec<u128>,
}

impl Maps {
    /// For these addresses and so many workers.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(addresses: &[IpAddr], workers: usize) -> io::Result<Maps> {
        let mut ours: Vec<u128> = Vec::new();
        for address in addresses {
            let ip = Endpoint::from(std::net::SocketAddr::new(*address, 0)).ip;
            if !ours.contains(&ip) {
                ours.push(ip);
            }
        }
        let ports = Map::create(MapSpec {
            kind: MapKind::Array,
            key: 4,
            value: PORTS,
            entries: ours.len().max(1) as u32,
            mapped: true,
            name: "tl_ports",
        })?;
        let sockets = Map::create(MapSpec {
            kind: MapKind::Sockmap,
            key: 4,
            value: 4,
            entries: 2 * workers.max(1) as u32,
            mapped: false,
            name: "tl_fan_in",
        })?;
        Ok(Maps { ports, sockets, addresses: ours })
    }

    /// Where the datagrams of a worker and family are to come.
    ///
    /// # Errors
    /// The kernel's.
    pub fn put(&self, worker: usize, v4: bool, socket: &std::net::UdpSocket) -> io::Result<()> {
        let place = 2 * worker as u32 + u32::from(!v4);
        self.sockets.put_socket(place, std::os::fd::AsFd::as_fd(socket))
    }

    /// Loads the program.
    ///
    /// # Errors
    /// What the kernel refused, in the verifier's words.
    pub fn load(&self) -> Result<Program, LoadError> {
        let code = program(self)
            .map_err(|defect| LoadError { cause: io::Error::other(defect), log: String::new() })?;
        Program::load(ProgramKind::SkLookup, &code, "tl_steer")
    }

    /// Attaches the program to this network namespace. No port is open yet.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(self) -> io::Result<Steering> {
        let program = self.load()?;
        let ports = self.ports.memory()?;
        let link = Link::netns(&program)?;
        Ok(Steering { ports, map: self.ports, addresses: self.addresses, _link: link })
    }
}

impl Steering {
    /// The addresses, in the order of their numbers.
    pub fn addresses(&self) -> &[u128] {
        &self.addresses
    }

    /// What the program goes by: for each number of an address, an octet per port.
    pub fn ports(&self) -> &Map {
        &self.map
    }

    /// Whether a port is open, for whichever worker.
    pub fn is_open(&self, address: usize, port: u16) -> bool {
        self.ports.octet(place(address, port)) != 0
    }

    /// From now on datagrams for the port come to `worker`.
    pub fn open(&self, address: usize, port: u16, worker: usize) {
        self.ports.set_octet(place(address, port), worker as u8 + 1);
    }

    /// From now on they do not.
    pub fn close(&self, address: usize, port: u16) {
        self.ports.set_octet(place(address, port), 0);
    }
}

fn place(address: usize, port: u16) -> usize {
    address * PORTS as usize + usize::from(port)
}

/// The program. Offsets are those of `struct bpf_sk_lookup`.
fn program(maps: &Maps) -> Result<Vec<Insn>, AsmError> {
    let mut a = Assembler::new();
    let [pass, found, six] = [a.label(), a.label(), a.label()];
    a.mov(Reg::R6, Reg::R1);
    a.load(Size::W, Reg::R2, Reg::R6, PROTOCOL);
    a.jump(Jump::Ne, Reg::R2, libc::IPPROTO_UDP, pass);
    // R7: the port. R8: the number of the address. R9: which family's socket.
    a.load(Size::W, Reg::R7, Reg::R6, LOCAL_PORT);
    a.alu_imm(Alu::And, Reg::R7, PORTS as i32 - 1);
    a.load(Size::W, Reg::R2, Reg::R6, FAMILY);
    a.jump(Jump::Eq, Reg::R2, libc::AF_INET6, six);
    a.jump(Jump::Ne, Reg::R2, libc::AF_INET, pass);
    a.mov_imm(Reg::R9, 0);
    a.load(Size::W, Reg::R2, Reg::R6, LOCAL_IP4);
    let all =
        maps.addresses.iter().zip(0..).map(|(ip, number)| (Endpoint { ip: *ip, port: 0 }, number));
    for (address, number) in all.clone().filter(|(address, _)| address.is_ipv4()) {
        a.mov_imm(Reg::R8, number);
        a.jump32(Jump::Eq, Reg::R2, (address.ip as u32).to_be(), found);
    }
    a.goto(pass);

    a.place(six);
    a.mov_imm(Reg::R9, 1);
    let parts = [Reg::R2, Reg::R3, Reg::R4, Reg::R5];
    for (part, at) in parts.into_iter().zip((LOCAL_IP6..).step_by(4)) {
        a.load(Size::W, part, Reg::R6, at);
    }
    for (address, number) in all.filter(|(address, _)| !address.is_ipv4()) {
        let next = a.label();
        let words = address.ip.to_be_bytes();
        let (words, _) = words.as_chunks::<4>();
        for (part, word) in parts.into_iter().zip(words) {
            a.jump32(Jump::Ne, part, u32::from_ne_bytes(*word), next);
        }
        a.mov_imm(Reg::R8, number);
        a.goto(found);
        a.place(next);
    }
    a.goto(pass);

    a.place(found);
    look_up(&mut a, &maps.ports, Reg::R8);
    a.jump(Jump::Eq, Reg::R0, 0, pass);
    a.alu(Alu::Add, Reg::R0, Reg::R7);
    a.load(Size::B, Reg::R8, Reg::R0, 0);
    a.jump(Jump::Eq, Reg::R8, 0, pass);
    a.alu_imm(Alu::Sub, Reg::R8, 1);
    a.alu_imm(Alu::Lsh, Reg::R8, 1);
    a.alu(Alu::Or, Reg::R8, Reg::R9);
    look_up(&mut a, &maps.sockets, Reg::R8);
    a.jump(Jump::Eq, Reg::R0, 0, pass);
    // The lookup took a reference, which is to be given back.
    a.mov(Reg::R7, Reg::R0);
    a.mov(Reg::R1, Reg::R6);
    a.mov(Reg::R2, Reg::R0);
    a.mov_imm(Reg::R3, 0);
    a.call(SK_ASSIGN);
    a.mov(Reg::R1, Reg::R7);
    a.call(SK_RELEASE);
    a.place(pass);
    a.mov_imm(Reg::R0, PASS);
    a.exit();
    a.finish()
}

/// `R0 = map[key]`; spoils R1 to R5.
fn look_up(a: &mut Assembler, map: &Map, key: Reg) {
    a.store(Size::W, Reg::R10, -4, key);
    a.map(Reg::R1, map);
    a.mov(Reg::R2, Reg::R10);
    a.alu_imm(Alu::Add, Reg::R2, -4);
    a.call(MAP_LOOKUP);
}

/// Ports of one address.
const PORTS: u32 = 1 << 16;
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_IP4: i16 = 40;
const LOCAL_IP6: i16 = 44;
const LOCAL_PORT: i16 = 60;
/// Of `enum bpf_func_id`.
const MAP_LOOKUP: i32 = 1;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;
/// `SK_PASS`: with the chosen socket, or as usual when there is none.
const PASS: i32 = 1;

const _: () = assert!(crate::limits::WORKERS_MAX < u8::MAX as usize);
