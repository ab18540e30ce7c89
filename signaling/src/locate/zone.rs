//! A small DNS server for tests, on loopback, over UDP and TCP. It writes its messages itself, so
//! that what reads them is not checked against its own writer.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use super::Kind;

/// What the server does with a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Records with a TTL in seconds.
    Records(u32, Vec<Data>),
    /// The name has no such record; SOA with this negative TTL.
    Nothing(u32),
    /// The name does not exist; SOA with this negative TTL.
    NoSuchName(u32),
    /// The server is broken.
    ServerFailure,
    /// No answer at all.
    Silence,
    /// The answer does not fit a datagram: it comes over TCP.
    Truncated(u32, Vec<Data>),
}

/// One record's data.
#[derive(Clone, Debug)]
pub enum Data {
    Address(IpAddr),
    Srv(u16, u16, u16, &'static str),
    Naptr(u16, u16, &'static str, &'static str, &'static str),
    /// An alias, and what the alias has.
    Alias(&'static str, IpAddr),
}

type Rows = Arc<Mutex<HashMap<(String, u16), Reply>>>;

/// A running server. Its threads end with the process.
pub struct Zone {
    pub address: SocketAddr,
    rows: Rows,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Zone {
    pub fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let zone = Self { address, rows: Rows::default(), asked: Arc::default() };
        let (rows, asked) = (Arc::clone(&zone.rows), Arc::clone(&zone.asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                if let Some(reply) = answer(&buffer[..length], &rows, &asked, false) {
                    let _gone = udp.send_to(&reply, peer);
                }
            }
        });
        let (rows, asked) = (Arc::clone(&zone.rows), Arc::clone(&zone.asked));
        std::thread::spawn(move || {
            for mut socket in tcp.incoming().flatten() {
                let mut length = [0; 2];
                while socket.read_exact(&mut length).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    if socket.read_exact(&mut question).is_err() {
                        break;
                    }
                    if let Some(reply) = answer(&question, &rows, &asked, true) {
                        let framed = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
                        let _gone = socket.write_all(&framed);
                    }
                }
            }
        });
        zone
    }

    /// Says what `name` has from now on.
    pub fn set(&self, name: &str, kind: Kind, reply: Reply) {
        self.rows.lock().unwrap().insert((name.to_owned(), number(kind)), reply);
    }

    /// An address with a TTL.
    pub fn address_of(&self, name: &str, ttl: u32, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
        self.set(name, kind, Reply::Records(ttl, vec![Data::Address(address)]));
    }

    /// Every question so far: `name type udp`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn number(kind: Kind) -> u16 {
    match kind {
        Kind::A => 1,
        Kind::Aaaa => 28,
        Kind::Srv => 33,
        Kind::Naptr => 35,
    }
}

fn answer(question: &[u8], rows: &Rows, asked: &Mutex<Vec<String>>, tcp: bool) -> Option<Vec<u8>> {
    let (name, end) = read_name(question, 12)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let way = if tcp { "tcp" } else { "udp" };
    asked.lock().unwrap().push(format!("{name} {kind} {way}"));
    let known = rows.lock().unwrap().get(&(name.clone(), kind)).cloned();
    let missing = || rows.lock().unwrap().keys().all(|(known, _)| *known != name);
    let reply = known.unwrap_or_else(|| match missing() {
        true => Reply::NoSuchName(60),
        false => Reply::Nothing(60),
    });
    let (code, truncated, records, soa) = match reply {
        Reply::Silence => return None,
        Reply::ServerFailure => (2, false, Vec::new(), None),
        Reply::NoSuchName(ttl) => (3, false, Vec::new(), Some(ttl)),
        Reply::Nothing(ttl) => (0, false, Vec::new(), Some(ttl)),
        Reply::Truncated(_, _) if !tcp => (0, true, Vec::new(), None),
        Reply::Truncated(ttl, data) | Reply::Records(ttl, data) => {
            (0, false, data.iter().flat_map(|data| record(&name, kind, ttl, data)).collect(), None)
        }
    };
    let mut out = question.get(..2)?.to_vec();
    // Response, authoritative, recursion desired and available.
    out.extend([0x85 | if truncated { 0x02 } else { 0 }, 0x80 | code]);
    let counts = [1, records.len() as u16, u16::from(soa.is_some()), 0];
    out.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    out.extend_from_slice(question.get(12..end + 4)?);
    records.iter().for_each(|record| out.extend_from_slice(record));
    if let Some(ttl) = soa {
        let numbers = [1_u32, 3_600, 600, 86_400, ttl].map(u32::to_be_bytes).concat();
        let data = [write_name("ns.test"), write_name("root.test"), numbers].concat();
        out.extend(wrap(&name, 6, ttl, &data));
    }
    Some(out)
}

fn record(name: &str, kind: u16, ttl: u32, data: &Data) -> Vec<Vec<u8>> {
    let address = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    match data {
        Data::Address(ip) => vec![wrap(name, kind, ttl, &address(ip))],
        Data::Alias(target, ip) => {
            vec![wrap(name, 5, ttl / 2, &write_name(target)), wrap(target, kind, ttl, &address(ip))]
        }
        Data::Srv(priority, weight, port, target) => {
            let numbers = [*priority, *weight, *port].map(u16::to_be_bytes).concat();
            vec![wrap(name, kind, ttl, &[numbers, write_name(target)].concat())]
        }
        Data::Naptr(order, preference, flags, service, replacement) => {
            let mut data = [*order, *preference].map(u16::to_be_bytes).concat();
            for text in [*flags, *service, ""] {
                data.push(text.len() as u8);
                data.extend_from_slice(text.as_bytes());
            }
            data.extend(write_name(replacement));
            vec![wrap(name, kind, ttl, &data)]
        }
    }
}

fn wrap(name: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = write_name(name);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    out
}

fn write_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}
