//! TLS: what can be wrong with a handshake, each by its name.

use std::io::{Read, Write};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::peer::{Peer, reply};
use super::*;
use crate::net::fixture::{Authority, Certificate, Place, Valid};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A directory with the authority that the trunk trusts.
fn place(authority: &Authority) -> Place {
    let place = Place::new();
    place.write("ca.pem", &authority.pem());
    place
}

fn server(
    certificate: &Certificate,
    versions: &[&'static SupportedProtocolVersion],
    clients: Option<&Authority>,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let chain = CertificateDer::pem_slice_iter(certificate.pem.as_bytes());
    let chain: Vec<_> = chain.map(|certificate| certificate.unwrap()).collect();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let pem = authority.pem();
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            roots.add(der).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    builder.with_single_cert(chain, key).unwrap()
}

fn fine(request: &sip::wire::Request) -> Vec<String> {
    vec![reply(request, 200, "", "")]
}

fn fact<'a>(step: &'a Step, name: &str) -> &'a str {
    step.facts.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
}

#[test]
fn a_good_handshake_is_told_in_full() {
    let authority = Authority::new("the authority");
    let place = place(&authority);
    let certificate = authority.issue(&["127.0.0.1", "pbx.example"]);
    for (versions, version) in [(BOTH, "TLSv1_3"), (&[&TLS12][..], "TLSv1_2")] {
        let peer = Peer::over_tls(server(&certificate, versions, None), fine);
        let report =
            Scene::new(&format!("{}secure = true\n", peer.fields()), place.path()).run(None);
        let want = [
            (Stage::Dns, Verdict::Skip),
            (Stage::Tcp, Verdict::Pass),
            (Stage::Tls, Verdict::Pass),
            (Stage::Options, Verdict::Pass),
        ];
        assert_eq!(verdicts(&report), want, "{report:#?}");
        let tls = step(&report, Stage::Tls);
        assert_eq!(fact(tls, "version"), version);
        assert_eq!(fact(tls, "client certificate"), "not asked for");
        let shown = fact(tls, "certificate 1");
        assert!(shown.contains("pbx.example") && shown.contains("the authority"), "{shown}");
        assert_eq!(report.ladder[0].transport, "TLS");
    }
}

#[test]
fn each_fault_of_a_certificate_has_its_name() {
    let (authority, other) = (Authority::new("the authority"), Authority::new("another"));
    let place = place(&authority);
    let good = ["127.0.0.1"];
    for (certificate, names, failure, said) in [
        (other.issue(&good), "", Failure::UnknownCa, "does not trust"),
        (authority.issue(&["other.example"]), "", Failure::NameMismatch, "other.example"),
        (
            authority.issue(&good),
            "tls_peer_names = [\"pbx.example\"]\n",
            Failure::NameMismatch,
            "pbx.example",
        ),
        (authority.issue_valid(&good, Valid::Past), "", Failure::Expired, "expired"),
        (authority.issue_valid(&good, Valid::Future), "", Failure::NotYetValid, "not valid yet"),
    ] {
        for versions in [BOTH, &[&TLS12][..]] {
            let peer = Peer::over_tls(server(&certificate, versions, None), fine);
            let fields = format!("{}secure = true\n{names}", peer.fields());
            let report = Scene::new(&fields, place.path()).run(None);
            failed(&report, Stage::Tls, failure);
            let tls = step(&report, Stage::Tls);
            assert!(tls.text.contains(said), "{said}: {tls:#?}");
            assert!(!fact(tls, "certificate 1").is_empty(), "what was shown is told");
            assert!(peer.heard("").is_empty(), "nothing is said to a peer that is not the trunk's");
        }
    }
}

#[test]
fn a_client_certificate_that_is_demanded() {
    let (authority, theirs) = (Authority::new("the authority"), Authority::new("theirs"));
    let place = place(&authority);
    let certificate = authority.issue(&["127.0.0.1"]);
    place.certificate("good", &theirs.issue(&["gw.example"]));
    place.certificate("bad", &authority.issue(&["gw.example"]));
    let with =
        |name: &str| format!("tls_client_cert = \"{name}.pem\"\ntls_client_key = \"{name}.key\"\n");
    for versions in [BOTH, &[&TLS12][..]] {
        let peer = Peer::over_tls(server(&certificate, versions, Some(&theirs)), fine);
        let run = |more: &str| {
            let fields = format!("{}secure = true\n{more}", peer.fields());
            Scene::new(&fields, place.path()).run(None)
        };
        let report = run("");
        failed(&report, Stage::Tls, Failure::ClientCertificateDemanded);
        assert_eq!(
            fact(step(&report, Stage::Tls), "client certificate"),
            "asked for; we have none"
        );
        failed(&run(&with("bad")), Stage::Tls, Failure::ClientCertificateDemanded);
        // Positive control.
        let report = run(&with("good"));
        assert_eq!(step(&report, Stage::Tls).verdict, Verdict::Pass, "{report:#?}");
        assert_eq!(fact(step(&report, Stage::Tls), "client certificate"), "asked for and shown");
        assert_eq!(step(&report, Stage::Options).verdict, Verdict::Pass);
    }
}

#[test]
fn an_old_tls_version() {
    let authority = Authority::new("the authority");
    let place = place(&authority);
    // Fatal alert protocol_version, as a server for TLS 1.0 alone sends it (RFC 2246 §7.2.2).
    let alert: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];
    // A server that picks TLS 1.0 all the same.
    let mut hello = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    for says in [alert.to_vec(), hello] {
        let peer = Peer::accepting("TLS", move |mut socket, _| {
            let _hello = socket.read(&mut [0; 4_096]);
            let _gone = socket.write_all(&says);
            let _until_closed = socket.read(&mut [0; 64]);
        });
        let fields = format!("{}secure = true\n", peer.fields());
        failed(&Scene::new(&fields, place.path()).run(None), Stage::Tls, Failure::TlsVersion);
    }
}

#[test]
fn a_port_that_speaks_no_tls() {
    let authority = Authority::new("the authority");
    let place = place(&authority);
    let peer = Peer::accepting("TLS", |mut socket, _| {
        let _hello = socket.read(&mut [0; 4_096]);
        let _gone = socket.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n");
    });
    let fields = format!("{}secure = true\n", peer.fields());
    failed(&Scene::new(&fields, place.path()).run(None), Stage::Tls, Failure::TlsBroken);
    let mute = Peer::accepting("TLS", |mut socket, _| {
        let _until_closed = socket.read_to_end(&mut Vec::new());
    });
    let fields = format!("{}secure = true\n", mute.fields());
    let patience = Patience { connect: Duration::from_millis(300), ..PATIENCE };
    let report = Scene::with(&fields, place.path(), &[], patience).run(None);
    failed(&report, Stage::Tls, Failure::Timeout);
}
