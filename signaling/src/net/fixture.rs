//! What tests of the edge share: an edge on loopback, its inbox, certificates.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel::{Receiver, bounded};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use sip::endpoint::Hop;

use super::*;
use crate::config;
use crate::homes::Homes;
use crate::plan::LivePlan;

/// Long enough for a busy machine; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that goes with the test.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trunkline-net-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Writes `<name>.pem` and `<name>.key`.
    pub fn certificate(&self, name: &str, certificate: &Certificate) {
        self.write(&format!("{name}.pem"), &certificate.pem);
        self.write(&format!("{name}.key"), &certificate.key);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// A running edge and what it tells the shard.
pub struct Gateway {
    pub net: Net,
    pub out: Outlet,
    pub inbox: Receiver<Inbound>,
    /// Where its files are.
    pub place: Option<Place>,
}

impl Gateway {
    /// An edge with listeners for UDP and TCP and these trunks.
    pub fn start(trunks: &str, limits: Limits) -> Self {
        let sip = "[sip]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\n";
        Self::of(&format!("{sip}{trunks}"), None, limits, 10_000)
    }

    /// The same with room for `room` things in the shard's queue.
    pub fn start_with_room(trunks: &str, room: usize) -> Self {
        let sip = "[sip]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\n";
        Self::of(&format!("{sip}{trunks}"), None, Limits::default(), room)
    }

    /// An edge with any configuration; files count from the place.
    pub fn of(text: &str, place: Option<Place>, limits: Limits, room: usize) -> Self {
        let base = place.as_ref().map_or(Path::new("."), Place::path);
        let config = config::parse(text, base).unwrap_or_else(|errors| panic!("{errors}"));
        let (sender, inbox) = bounded(room);
        let inboxes = Inboxes::new(vec![sender], Homes::default());
        let net = start_with(&config, LivePlan::new(config.plan()), inboxes, limits)
            .unwrap_or_else(|error| panic!("{error}"));
        Self { out: net.outlet(0), net, inbox, place }
    }

    /// An edge with listeners for UDP and TCP and these trunks, changed before it starts.
    pub fn edited(trunks: &str, limits: Limits, edit: impl Fn(&mut crate::trunk::Trunk)) -> Self {
        let sip = "[sip]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\n";
        let mut config = config::parse(&format!("{sip}{trunks}"), Path::new("."))
            .unwrap_or_else(|errors| panic!("{errors}"));
        config.trunks.iter_mut().map(Arc::make_mut).for_each(edit);
        let (sender, inbox) = bounded(10_000);
        let inboxes = Inboxes::new(vec![sender], Homes::default());
        let net = start_with(&config, LivePlan::new(config.plan()), inboxes, limits)
            .unwrap_or_else(|error| panic!("{error}"));
        Self { out: net.outlet(0), net, inbox, place: None }
    }

    pub fn address(&self, transport: Transport) -> SocketAddr {
        self.net.addresses(transport)[0]
    }

    pub fn next(&self) -> Inbound {
        self.inbox.recv_timeout(PATIENCE).expect("nothing came in")
    }

    /// The next thing, which must be a message.
    pub fn message(&self) -> (Hop, Origin, Message) {
        match self.next() {
            Inbound::Message { hop, origin, message } => (hop, origin, message),
            other => panic!("no message but {other:?}"),
        }
    }

    /// The next thing, which must be the end of a connection.
    pub fn closed(&self) -> Hop {
        match self.next() {
            Inbound::Closed { hop } => hop,
            other => panic!("not closed but {other:?}"),
        }
    }

    /// The next thing, which must be a failure; after why no connection was had, if it was tried.
    pub fn failed(&self) -> Hop {
        match self.next() {
            Inbound::Failed { hop } => hop,
            Inbound::Undialled { hop, .. } => {
                let failed = self.failed();
                assert_eq!((hop.remote, hop.tag), (failed.remote, failed.tag));
                failed
            }
            other => panic!("not failed but {other:?}"),
        }
    }
}

/// Waits for a counter, which another thread moves.
pub fn until(what: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < limit, "it never happened");
        std::thread::yield_now();
    }
}

/// A request whose Call-ID tells it from others.
pub fn options(call_id: &str) -> Bytes {
    Bytes::from(format!(
        "OPTIONS sip:gw@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK{call_id}\r\n\
         From: <sip:a@192.0.2.9>;tag=1\r\nTo: <sip:gw@192.0.2.1>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ))
}

pub fn call_id(message: &Message) -> String {
    String::from_utf8(message.headers().call_id().unwrap().to_vec()).unwrap()
}

/// An authority that signs certificates for tests.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate chain and its key as PEM.
pub struct Certificate {
    pub pem: String,
    pub key: String,
    pub der: Vec<u8>,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub enum Valid {
    Now,
    Past,
    Future,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with these subject alternative names.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_valid(names, Valid::Now)
    }

    pub fn issue_valid(&self, names: &[&str], valid: Valid) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        match valid {
            Valid::Now => {}
            Valid::Past => params.not_after = date_time_ymd(2020, 1, 1),
            Valid::Future => params.not_before = date_time_ymd(4000, 1, 1),
        }
        self.sign(params)
    }

    /// A certificate with a common name only.
    pub fn issue_common_name(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params)
    }

    /// A certificate for servers only, as public authorities issue them.
    pub fn issue_for_servers(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Certificate {
            pem: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }
}

/// A certificate signed by itself that calls itself an authority, as a CUCM's may.
pub fn self_signed_authority(name: &str) -> Certificate {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Certificate {
        pem: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}
