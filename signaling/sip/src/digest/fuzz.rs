//! Fuzz body of the authentication headers: any bytes, and what must hold for all of them. The tests
//! run it over stored seeds and mutations of them; a fuzzer links the same function.

use super::client::{Asked, Challenge, is_stale};
use super::server::{Peer, Refusal, Verifier, claimed_user, covers};
use super::{Credentials, client};
use crate::wire::{HeaderName, Headers, Method, Uri};

/// One value in each of the five headers: no panic; whatever challenge is answered, the answer can
/// be read, stands on one line and shows no password; an answer that we did not ask for proves
/// nothing.
pub fn value(data: &[u8]) {
    let credentials = Credentials::new("b\"ob", PASSWORD);
    let asked = Asked { method: &Method::Invite, uri: "sip:a@b;x=\"y\"", body: b"v=0" };
    for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
        let mut headers = Headers::new();
        headers.push(name, data.to_vec());
        let _ = is_stale(&headers);
        let Some(mut challenge) = Challenge::strongest(&headers, "c0", &|_| true) else { continue };
        for _ in 0..2 {
            let (name, answer) = challenge.answer(&asked, &credentials);
            assert!(name.is_secret());
            assert!(!answer.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()));
            assert_eq!(claimed_user(&answer).as_deref(), Some(&b"b\\\"ob"[..]));
        }
        let mut accepted = Headers::new();
        accepted.push(HeaderName::AuthenticationInfo, data.to_vec());
        challenge.renew(&accepted);
        assert!(!format!("{challenge:?}").contains(PASSWORD));
    }
    let mut verifier = Verifier::new([7; 32]);
    let peer = Peer { source: "udp 192.0.2.7", md5: true };
    let verdict = verifier.verify(1_000, &Method::Invite, data, &credentials, peer);
    assert!(verdict.is_err_and(|refusal| refusal != Refusal::Stale), "nobody was challenged");
    assert_eq!(verifier.remembered(), 0);
    let _ = claimed_user(data);
    if let Ok(uri) = Uri::parse(b"sip:a@b") {
        let _ = covers(data, &uri);
    }
    let own = |realm: &str| realm == "ours";
    let mut foreign = Headers::new();
    foreign.push(HeaderName::WwwAuthenticate, data.to_vec());
    let answer = client::answer(&foreign, &credentials, asked.method, asked.uri, b"", "c", 1, &own);
    assert!(answer.is_none() || data.windows(4).any(|part| part == b"ours"));
}

const PASSWORD: &str = "canary-password";
