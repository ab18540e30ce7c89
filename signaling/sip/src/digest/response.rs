//! The response value itself (RFC 7616 §3.4.1 to §3.4.3).

use zeroize::Zeroizing;

use super::Credentials;
use super::algorithm::Algorithm;

/// Everything that the hash covers, values as they stand between their quotes.
pub struct Covered<'a> {
    pub algorithm: Algorithm,
    pub realm: &'a [u8],
    pub nonce: &'a [u8],
    pub method: &'a str,
    pub uri: &'a [u8],
    pub protection: Protection<'a>,
    /// The client nonce; `-sess` needs it even without a `qop`.
    pub cnonce: &'a [u8],
}

/// The quality of protection.
#[derive(Clone, Copy)]
pub enum Protection<'a> {
    /// No `qop` (RFC 2069 compatible).
    None,
    Auth {
        nc: &'a [u8],
    },
    AuthInt {
        nc: &'a [u8],
        body: &'a [u8],
    },
}

/// The response in lower-case hexadecimal.
pub fn response(covered: &Covered<'_>, credentials: &Credentials) -> Zeroizing<String> {
    let hash = covered.algorithm.hash;
    let user = credentials.username.as_bytes();
    let mut secret = hash.hex(&[user, covered.realm, credentials.password.as_bytes()]);
    if covered.algorithm.sess {
        secret = hash.hex(&[secret.as_bytes(), covered.nonce, covered.cnonce]);
    }
    let (secret, nonce, cnonce) = (secret.as_bytes(), covered.nonce, covered.cnonce);
    let method = covered.method.as_bytes();
    match covered.protection {
        Protection::None => {
            let request = hash.hex(&[method, covered.uri]);
            hash.hex(&[secret, nonce, request.as_bytes()])
        }
        Protection::Auth { nc } => {
            let request = hash.hex(&[method, covered.uri]);
            hash.hex(&[secret, nonce, nc, cnonce, b"auth", request.as_bytes()])
        }
        Protection::AuthInt { nc, body } => {
            let body = hash.hex(&[body]);
            let request = hash.hex(&[method, covered.uri, body.as_bytes()]);
            hash.hex(&[secret, nonce, nc, cnonce, b"auth-int", request.as_bytes()])
        }
    }
}
