use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::bounded;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned,
};
use sip::endpoint::Transport;

use super::super::fixture::{
    Authority, Certificate, Gateway, PATIENCE, Place, Valid, call_id, options,
    self_signed_authority, until,
};
use super::super::{Inboxes, Limits, NetError, start};
use super::trust::fingerprint;
use super::*;
use crate::config;
use crate::homes::Homes;
use crate::plan::{LivePlan, Plan};
use crate::shard::Edge;
use crate::trunk::{Unattributed, attribute};

const SIP: &str = "[sip]\ntls = [\"127.0.0.1:0\"]\ntls_certificate = \"gw.pem\"\n\
                   tls_key = \"gw.key\"\ntls_ca = \"ca.pem\"\n";

/// An authority, a gateway certificate from it, and room for more.
struct Scene {
    authority: Authority,
    place: Place,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new("the authority");
        let place = Place::new();
        place.write("ca.pem", &authority.pem());
        place.certificate("gw", &authority.issue(&["gw.example", "127.0.0.1"]));
        Self { authority, place }
    }

    /// A gateway with one secure trunk to this host that has these further fields.
    fn gateway(self, port: u16, fields: &str) -> (Authority, Gateway) {
        self.gateway_within(port, fields, Limits::default())
    }

    fn gateway_within(self, port: u16, fields: &str, limits: Limits) -> (Authority, Gateway) {
        let text = format!(
            "{SIP}[[trunk]]\nname = \"pbx\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             secure = true\n{fields}"
        );
        (self.authority, Gateway::of(&text, Some(self.place), limits, 100))
    }
}

/// Trusts everything: what is under test is the other side.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn identity(certificate: &Certificate) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(certificate.pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    (chain.map(|certificate| certificate.unwrap()).collect(), key)
}

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A peer that connects to the gateway, perhaps with a certificate.
fn client(address: SocketAddr, certificate: Option<&Certificate>) -> Client {
    client_of(address, certificate, &[&TLS13, &TLS12])
}

fn client_of(
    address: SocketAddr,
    certificate: Option<&Certificate>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Client {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let config = match certificate.map(identity) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("gw.example").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection, socket)
}

/// Whether the gateway refuses the client: with TLS 1.3 it learns so when it reads.
fn refused(mut client: Client) -> bool {
    let written = client.write_all(&options("no")).and_then(|()| client.flush());
    written.is_err() || !matches!(client.read(&mut [0; 64]), Ok(n) if n > 0)
}

/// What a peer saw that the gateway connected to.
struct Seen {
    name: Option<String>,
    certificate: Option<Vec<u8>>,
    text: Vec<u8>,
}

/// A peer that accepts one connection, asks for a certificate of that authority, reads `length`
/// bytes and sends a message.
fn server(
    certificate: &Certificate,
    authority: &Authority,
    length: usize,
) -> (u16, JoinHandle<std::io::Result<Seen>>) {
    let (chain, key) = identity(certificate);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (socket, _) = listener.accept()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = StreamOwned::new(connection, socket);
        let mut text = vec![0; length];
        tls.read_exact(&mut text)?;
        tls.write_all(&options("from-server"))?;
        tls.flush()?;
        let presented = tls.conn.peer_certificates().and_then(|chain| chain.first());
        Ok(Seen {
            name: tls.conn.server_name().map(str::to_owned),
            certificate: presented.map(|certificate| certificate.to_vec()),
            text,
        })
    };
    (port, std::thread::spawn(serve))
}

#[test]
fn a_peer_with_the_right_certificate_is_its_trunk() {
    let (authority, gateway) = Scene::new().gateway(5061, "tls_peer_names = [\"pbx.example\"]\n");
    let certificate = authority.issue(&["PBX.example", "other.example"]);
    for versions in [&[&TLS13][..], &[&TLS12][..]] {
        let address = gateway.address(Transport::Tls);
        let mut peer = client_of(address, Some(&certificate), versions);
        peer.write_all(&options("in")).unwrap();
        let (hop, origin, message) = gateway.message();
        assert_eq!(call_id(&message), "in");
        assert_eq!(hop.tag, TrunkId(1).tag());
        assert_eq!(origin.tls_names().unwrap(), ["other.example", "pbx.example"]);
        assert_eq!(origin.peer.as_ref().unwrap().trusted_by, [TrunkId(1)]);
        let table = gateway.net.plan().table();
        assert_eq!(attribute(&table, &origin, None), Ok(TrunkId(1)));
        gateway.out.send(hop, Bytes::from_static(b"answer"));
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        drop(peer);
        gateway.closed();
    }
}

#[test]
fn peers_without_or_with_another_certificate_belong_to_nobody() {
    let (authority, gateway) = Scene::new().gateway(5061, "tls_peer_names = [\"pbx.example\"]\n");
    let address = gateway.address(Transport::Tls);
    let table = gateway.net.plan().table();
    let stranger = authority.issue(&["stranger.example"]);
    for certificate in [None, Some(&stranger)] {
        let mut peer = client(address, certificate);
        peer.write_all(&options("in")).unwrap();
        let (hop, origin, _) = gateway.message();
        assert_eq!(hop.tag, 0);
        let refusal = attribute(&table, &origin, None);
        assert_eq!(refusal, Err(Unattributed::TlsIdentity(TrunkId(1))));
        drop(peer);
        gateway.closed();
    }
    // What no trunk vouches for does not get through the handshake.
    let unknown = Authority::new("another authority").issue(&["pbx.example"]);
    let expired = authority.issue_valid(&["pbx.example"], Valid::Past);
    let future = authority.issue_valid(&["pbx.example"], Valid::Future);
    for certificate in [&unknown, &expired, &future] {
        assert!(refused(client(address, Some(certificate))));
    }
    until(|| gateway.net.counts().handshakes_failed == 3);
    assert!(gateway.inbox.is_empty());
    // The positive control: the same with the right one.
    let mut peer = client(address, Some(&authority.issue(&["pbx.example"])));
    peer.write_all(&options("in")).unwrap();
    assert_eq!(gateway.message().0.tag, TrunkId(1).tag());
}

#[test]
fn the_common_name_counts_without_alternative_names() {
    let (authority, gateway) = Scene::new().gateway(5061, "tls_peer_names = [\"cucm-pub\"]\n");
    let address = gateway.address(Transport::Tls);
    let mut peer = client(address, Some(&authority.issue_common_name("CUCM-Pub")));
    peer.write_all(&options("in")).unwrap();
    assert_eq!(gateway.message().0.tag, TrunkId(1).tag());
}

#[test]
fn a_certificate_for_servers_only_is_good_both_ways() {
    let (authority, gateway) = Scene::new().gateway(5061, "tls_peer_names = [\"pbx.example\"]\n");
    let address = gateway.address(Transport::Tls);
    let mut peer = client(address, Some(&authority.issue_for_servers(&["pbx.example"])));
    peer.write_all(&options("in")).unwrap();
    assert_eq!(gateway.message().0.tag, TrunkId(1).tag());
}

#[test]
fn a_pinned_certificate_needs_no_authority_and_nothing_else_will_do() {
    let pinned = self_signed_authority("pbx.example");
    let pin = fingerprint(&CertificateDer::from(pinned.der.clone()));
    let pin: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
    let (authority, gateway) = Scene::new().gateway(5061, &format!("tls_pin = \"{pin}\"\n"));
    let address = gateway.address(Transport::Tls);
    let mut peer = client(address, Some(&pinned));
    peer.write_all(&options("in")).unwrap();
    assert_eq!(gateway.message().0.tag, TrunkId(1).tag());
    // Not even the authority that other trunks would trust.
    assert!(refused(client(address, Some(&authority.issue(&["pbx.example"])))));
    let twin = self_signed_authority("pbx.example");
    assert!(refused(client(address, Some(&twin))));
}

#[test]
fn a_self_signed_certificate_in_the_ca_file_is_trusted_itself() {
    let scene = Scene::new();
    let pbx = self_signed_authority("pbx.example");
    scene.place.write("pbx-ca.pem", &pbx.pem);
    let fields = "tls_ca = \"pbx-ca.pem\"\ntls_peer_names = [\"pbx.example\"]\n";
    let (_, gateway) = scene.gateway(5061, fields);
    let mut peer = client(gateway.address(Transport::Tls), Some(&pbx));
    peer.write_all(&options("in")).unwrap();
    assert_eq!(gateway.message().0.tag, TrunkId(1).tag());
}

#[test]
fn a_handshake_must_end_in_time_and_must_be_one() {
    let limits = Limits { tls_handshake: Duration::from_millis(100), ..Limits::default() };
    let (_, gateway) = Scene::new().gateway_within(5061, "", limits);
    let address = gateway.address(Transport::Tls);
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(silent.read(&mut [0; 8]), Ok(0) | Err(_)));
    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(&options("plain")).unwrap();
    let mut rest = Vec::new();
    let _reset = plain.read_to_end(&mut rest);
    assert!(!rest.windows(4).any(|window| window == b"SIP/"));
    until(|| gateway.net.counts().handshakes_failed == 2);
    assert!(gateway.inbox.is_empty());
}

/// Sends one message to the trunk; what the peer saw, or that the connection failed.
fn dial(
    scene: Scene,
    port: u16,
    thread: JoinHandle<std::io::Result<Seen>>,
    fields: &str,
) -> Option<Seen> {
    let (_, gateway) = scene.gateway(port, fields);
    let hop = gateway.net.plan().table().hop(TrunkId(1)).unwrap();
    gateway.out.send(hop, Bytes::from_static(b"hello"));
    match gateway.next() {
        crate::net::Inbound::Message { hop: back, origin, message } => {
            assert_eq!(call_id(&message), "from-server");
            assert_eq!((back.tag, back.remote), (hop.tag, hop.remote));
            assert_eq!(origin.opened_for, Some(TrunkId(1)));
            let seen = thread.join().unwrap().unwrap();
            assert_eq!(seen.text, b"hello");
            Some(seen)
        }
        crate::net::Inbound::Undialled { fault, .. } => {
            assert!(fault.is_tls && !fault.text.is_empty());
            assert_eq!(gateway.failed(), hop);
            assert_eq!(gateway.net.counts().dials_failed, 1);
            assert!(thread.join().unwrap().is_err());
            None
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn we_show_our_certificate_and_ask_by_name() {
    let scene = Scene::new();
    let pbx = scene.authority.issue(&["localhost"]);
    let (port, thread) = server(&pbx, &scene.authority, 5);
    let gateway_der = {
        let pem = std::fs::read(scene.place.path().join("gw.pem")).unwrap();
        CertificateDer::from_pem_slice(&pem).unwrap().to_vec()
    };
    let text = format!(
        "{SIP}[[trunk]]\nname = \"pbx\"\nhost = \"localhost\"\nport = {port}\nsecure = true\n"
    );
    let gateway = Gateway::of(&text, Some(scene.place), Limits::default(), 100);
    let table = gateway.net.plan().table();
    let targets = table.targets(TrunkId(1));
    let v4 = *targets.iter().find(|target| target.is_ipv4()).unwrap();
    let hop = sip::endpoint::Hop { remote: v4, ..table.hop(TrunkId(1)).unwrap() };
    gateway.out.send(hop, Bytes::from_static(b"hello"));
    gateway.message();
    let seen = thread.join().unwrap().unwrap();
    assert_eq!(seen.name.as_deref(), Some("localhost"));
    assert_eq!(seen.certificate, Some(gateway_der));
}

#[test]
fn a_trunk_may_have_a_certificate_of_ours_of_its_own() {
    let scene = Scene::new();
    let own = scene.authority.issue(&["gw-toward-pbx.example"]);
    scene.place.certificate("own", &own);
    let pbx = scene.authority.issue(&["127.0.0.1"]);
    let (port, thread) = server(&pbx, &scene.authority, 5);
    let fields = "tls_client_cert = \"own.pem\"\ntls_client_key = \"own.key\"\n";
    let seen = dial(scene, port, thread, fields).unwrap();
    assert_eq!(seen.certificate, Some(own.der));
    assert_eq!(seen.name, None, "an address is not asked for by name");
}

#[test]
fn servers_are_checked_for_authority_date_name_and_pin() {
    let names = "tls_peer_names = [\"pbx.example\"]\n";
    let pin = |certificate: &Certificate| {
        let pin = fingerprint(&CertificateDer::from(certificate.der.clone()));
        let hex: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("tls_pin = \"{hex}\"\n")
    };
    type Case = (&'static str, fn(&Authority) -> Certificate, bool);
    let cases: [Case; 6] = [
        ("good", |authority| authority.issue(&["pbx.example"]), true),
        ("common name", |authority| authority.issue_common_name("pbx.example"), true),
        ("unknown authority", |_| Authority::new("other").issue(&["pbx.example"]), false),
        ("expired", |authority| authority.issue_valid(&["pbx.example"], Valid::Past), false),
        ("wrong name", |authority| authority.issue(&["pbx.example.org"]), false),
        ("wildcard", |authority| authority.issue(&["*.example"]), false),
    ];
    for (what, issue, accepted) in cases {
        let scene = Scene::new();
        let certificate = issue(&scene.authority);
        let (port, thread) = server(&certificate, &scene.authority, 5);
        assert_eq!(dial(scene, port, thread, names).is_some(), accepted, "{what}");
    }
    let scene = Scene::new();
    let pinned = self_signed_authority("whatever.example");
    let (port, thread) = server(&pinned, &scene.authority, 5);
    assert!(dial(scene, port, thread, &pin(&pinned)).is_some());
    let scene = Scene::new();
    let other = scene.authority.issue(&["pbx.example"]);
    let (port, thread) = server(&other, &scene.authority, 5);
    assert!(dial(scene, port, thread, &pin(&pinned)).is_none());
}

#[test]
fn a_message_for_no_trunk_opens_no_tls_connection() {
    let (_, gateway) = Scene::new().gateway(5061, "");
    let hop = sip::endpoint::Hop { tag: 0, ..gateway.net.plan().table().hop(TrunkId(1)).unwrap() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hop = sip::endpoint::Hop { remote: listener.local_addr().unwrap(), ..hop };
    gateway.out.send(hop, Bytes::from_static(b"x"));
    assert_eq!(gateway.failed(), hop);
}

/// The text of the error with which a gateway of these files does not start.
fn start_error(scene: &Scene, fields: &str) -> String {
    let text =
        format!("{SIP}[[trunk]]\nname = \"pbx\"\nhost = \"127.0.0.1\"\nsecure = true\n{fields}");
    let config = config::parse(&text, scene.place.path()).unwrap();
    let error = start(
        &config,
        LivePlan::new(config.plan()),
        Inboxes::new(vec![bounded(1).0], Homes::default()),
    )
    .err()
    .expect("it started");
    assert!(matches!(error, NetError::Certificate { .. }), "{error:?}");
    assert!(error.is_configuration());
    error.to_string()
}

#[test]
fn bad_files_are_start_errors_that_name_file_cause_and_remedy() {
    let broken = |change: fn(&Scene), parts: &[&str]| {
        let scene = Scene::new();
        change(&scene);
        let shown = start_error(&scene, "");
        for part in parts {
            assert!(shown.contains(part), "{shown}");
        }
    };
    fn remove(scene: &Scene, name: &str) {
        std::fs::remove_file(scene.place.path().join(name)).unwrap();
    }
    broken(|scene| remove(scene, "gw.pem"), &["gw.pem", "cannot be read", "correct the path"]);
    broken(|scene| remove(scene, "gw.key"), &["gw.key", "cannot be read"]);
    broken(|scene| remove(scene, "ca.pem"), &["ca.pem", "cannot be read"]);
    broken(|scene| scene.place.write("gw.pem", "hello"), &["gw.pem", "no certificate", "PEM"]);
    broken(|scene| scene.place.write("gw.key", ""), &["gw.key", "no private key"]);
    broken(
        |scene| {
            let other = scene.authority.issue(&["gw.example"]);
            scene.place.write("gw.key", &other.key);
        },
        &["gw.key", "not the key of", "gw.pem"],
    );
    broken(
        |scene| {
            let expired = scene.authority.issue_valid(&["gw.example"], Valid::Past);
            scene.place.certificate("gw", &expired);
        },
        &["gw.pem", "expired on", "2020", "renew it"],
    );
    broken(
        |scene| {
            let future = scene.authority.issue_valid(&["gw.example"], Valid::Future);
            scene.place.certificate("gw", &future);
        },
        &["gw.pem", "valid only from", "clock"],
    );
    let scene = Scene::new();
    let shown = start_error(&scene, "tls_client_cert = \"no.pem\"\ntls_client_key = \"no.key\"\n");
    assert!(shown.contains("no.pem"), "{shown}");
}

#[test]
fn failures_of_a_handshake_are_explained() {
    let of = |error: rustls::Error| {
        explain(&std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    };
    assert!(of(CertificateError::Expired.into()).contains("expired; the peer must renew"));
    assert!(of(CertificateError::UnknownIssuer.into()).contains("tls_ca"));
    assert!(of(CertificateError::NotValidYet.into()).contains("clocks"));
    let name = verify_error();
    assert!(name.contains("names a.example") && name.contains("expects b.example"), "{name}");
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
    assert!(of(alert).contains("UnknownCA"));
}

fn verify_error() -> String {
    let error = super::verify::wrong_name(&["a.example".into()], &["b.example".into()]);
    explain(&std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

#[test]
fn a_published_trunk_is_trusted_at_once_and_a_broken_one_fails_alone() {
    let (authority, gateway) = Scene::new().gateway(5061, "tls_peer_names = [\"pbx.example\"]\n");
    let address = gateway.address(Transport::Tls);
    let newcomer = self_signed_authority("new.example");
    assert!(refused(client(address, Some(&newcomer))), "nobody vouches for it yet");
    let plan = gateway.net.plan();
    let old = plan.plan().trunks[0].clone();
    let edit = |id: u32, change: &dyn Fn(&mut crate::trunk::TlsSettings)| {
        let mut trunk = Trunk::clone(&old);
        trunk.id = TrunkId(id);
        trunk.tls.iter_mut().for_each(change);
        Arc::new(trunk)
    };
    let pin = fingerprint(&CertificateDer::from(newcomer.der.clone()));
    let pinned = edit(7, &|tls| {
        (tls.pin, tls.peer_names) = (Some(pin), Vec::new());
    });
    let broken = edit(8, &|tls| tls.ca = Some("/nowhere/ca.pem".into()));
    let trunks = vec![old.clone(), pinned, broken];
    plan.publish(Plan { trunks, ..Plan::default() });
    let mut peer = client(address, Some(&newcomer));
    peer.write_all(&options("new")).unwrap();
    let (_, origin, _) = gateway.message();
    assert_eq!(origin.peer.as_ref().unwrap().trusted_by, [TrunkId(7)]);
    // The old trunk is as it was.
    let known = authority.issue(&["pbx.example"]);
    let mut peer = client(address, Some(&known));
    peer.write_all(&options("old")).unwrap();
    let (_, origin, _) = gateway.message();
    assert_eq!(origin.peer.as_ref().unwrap().trusted_by, [TrunkId(1)]);
    // The one whose file is not there says so when it is to be used.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = listener.local_addr().unwrap();
    let hop = sip::endpoint::Hop { remote, ..plan.table().hop(TrunkId(8)).unwrap() };
    gateway.out.send(hop, Bytes::from_static(b"hello"));
    let fault = std::iter::from_fn(|| Some(gateway.next())).find_map(|told| match told {
        crate::net::Inbound::Undialled { fault, .. } => Some(fault),
        _ => None,
    });
    let fault = fault.unwrap();
    assert!(fault.is_tls && fault.text.contains("/nowhere/ca.pem"), "{fault:?}");
    // A plan without the newcomer's trunk trusts it no more.
    plan.publish(Plan { trunks: vec![old], ..Plan::default() });
    assert!(refused(client(address, Some(&newcomer))));
}

/// A renewed certificate counts from the next handshake on; half of a new pair changes nothing.
#[test]
fn renewed_certificates_are_taken_and_broken_ones_are_not() {
    let limits = Limits { certificates: Duration::from_millis(10), ..Limits::default() };
    let fields = "tls_peer_names = [\"pbx.example\"]\n";
    let (authority, gateway) = Scene::new().gateway_within(5061, fields, limits);
    let address = gateway.address(Transport::Tls);
    let shown = || {
        let mut peer = client(address, Some(&authority.issue(&["pbx.example"])));
        peer.write_all(&options("in")).unwrap();
        gateway.message();
        let certificate = peer.conn.peer_certificates().unwrap()[0].to_vec();
        drop(peer);
        gateway.closed();
        certificate
    };
    let before = shown();
    let place = gateway.place.as_ref().unwrap();
    let renewed = authority.issue(&["gateway.example"]);
    let expiry = gateway.net.expiries();
    assert_eq!(expiry.len(), 1, "one certificate of ours: {expiry:?}");
    // The certificate is there before its key.
    place.write("gw.pem", &renewed.pem);
    assert_eq!(shown(), before, "a pair that does not belong together is not used");
    place.write("gw.key", &renewed.key);
    until(|| shown() == renewed.der);
    // Nonsense changes nothing.
    place.write("gw.pem", "nonsense");
    for _ in 0..5 {
        assert_eq!(shown(), renewed.der);
    }
    assert_ne!(before, renewed.der);
}
