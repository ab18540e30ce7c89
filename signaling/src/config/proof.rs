//! Fields of a trunk about digests: what its peer proves to us, and whose challenges we answer.

use sip::digest::Credentials;

use super::Environment;
use super::section::Section;
use super::trunk::{secret, user};
use crate::trunk::IncomingCallPolicy;

/// Whether MD5 may answer our challenges.
pub(super) fn inbound_md5(section: &mut Section<'_, '_>, policy: IncomingCallPolicy) -> bool {
    let is_on = section.boolean("inbound_md5").is_some_and(|flag| flag.value);
    if is_on && policy != IncomingCallPolicy::Challenge {
        let remedy = "write incoming_call_policy = \"challenge\", or remove it";
        section.error("inbound_md5", "nothing asks for a digest", remedy);
    }
    is_on
}

/// The realm of the trunk's challenges. Quoted text: nothing that would end it.
pub(super) fn auth_realm(section: &mut Section<'_, '_>) -> Option<String> {
    let realm = section.string("auth_realm")?.value;
    let plain = |c: char| !c.is_control() && !"\"\\".contains(c);
    if realm.is_empty() || realm.len() > 253 || !realm.chars().all(plain) {
        let remedy = "write it as it stands in the peer's challenges, without quotes";
        section.error("auth_realm", "this cannot be a realm", remedy);
        return None;
    }
    Some(realm)
}

/// What a peer proves where `incoming_call_policy` is `challenge`: a credential of its own, because
/// the one that we answer with is known to the peer's side of things.
pub(super) fn inbound_credentials(
    section: &mut Section<'_, '_>,
    policy: IncomingCallPolicy,
    environment: Option<Environment<'_>>,
) -> Option<Credentials> {
    let username = user(section, "inbound_username");
    let keys = ["inbound_password", "inbound_password_file"];
    let password = secret(section, keys, environment);
    let is_asked = policy == IncomingCallPolicy::Challenge;
    match (username, password) {
        (Some(username), Some(password)) if is_asked => {
            Some(Credentials::new(username, password.expose().as_str()))
        }
        (None, None) if !is_asked => None,
        _ if is_asked => {
            let problem = "a challenge needs the credential that answers it";
            let remedy = "set inbound_username, and inbound_password or inbound_password_file";
            section.error("incoming_call_policy", problem, remedy);
            None
        }
        _ => {
            let problem = "nothing asks for the inbound credential";
            let remedy = "write incoming_call_policy = \"challenge\", or remove it";
            section.error("inbound_username", problem, remedy);
            None
        }
    }
}
