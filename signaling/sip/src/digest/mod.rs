//! Digest authentication for both roles: RFC 7616 with the SIP profile of RFC 8760, and RFC 2617
//! for the peers that know nothing else.
//!
//! `client` answers challenges, `server` makes and checks them. Neither draws random numbers nor
//! reads a clock: the client nonce, the server secret and the time are arguments.

mod algorithm;
pub mod client;
mod fields;
pub mod fuzz;
mod response;
pub mod server;
#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroizing;

/// A user and a password. The password is wiped when dropped and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: Zeroizing::new(password.into()) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"(redacted)")
            .finish()
    }
}
