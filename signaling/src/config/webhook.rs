//! `[webhook]`: who is told what happens.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::Findings;
use super::section::Section;
use super::tree::Table;
use crate::secret::Secret;
use crate::trunk::Host;

/// Where events are posted.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to.
    pub url: Url,
    /// What signs each event.
    pub secret: Option<Secret<String>>,
    /// Whom to trust; `Some` exactly when the URL is `https`.
    pub tls: Option<Arc<ClientConfig>>,
    /// Kinds of events.
    pub kinds: Vec<String>,
}

/// An `http` or `https` URL, in its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    text: String,
    is_secure: bool,
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// With the query, beginning with `/`.
    pub path: String,
}

impl Url {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reads `http://host[:port][/path][?query]`; no user, no fragment.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://"))
        {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let is_plain = |c: char| c.is_ascii_graphic() && c != '#';
        if !path.chars().all(is_plain) || path.len() > PATH_MAX {
            return None;
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        let port = port.unwrap_or(if is_secure { 443 } else { 80 });
        let host = match Host::parse(host)? {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name,
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{path}");
        (port != 0).then(|| Self { text: text.to_owned(), is_secure, host, port, path })
    }
}

/// `None` without `[webhook]`.
pub(super) fn webhook(root: &Table, base: &Path, findings: &mut Findings) -> Option<Webhook> {
    let table = root.get("webhook").and_then(|entry| entry.node.value.as_table());
    let mut section = Section::new("[webhook]", table, base, findings);
    let is_there = section.is_there();
    let text = section.string("url").map(|text| text.value);
    let url = text.as_deref().and_then(Url::parse);
    if is_there && url.is_none() {
        let problem = format!("\"{}\" is no URL of a server", text.unwrap_or_default());
        section.error("url", problem, "write url = \"https://host/path\"");
    }
    let inline = section.string("secret").map(|text| text.value);
    let file = section.path("secret_file").and_then(|path| read(&mut section, &path));
    if inline.is_some() && file.is_some() {
        section.error("secret", "secret and secret_file are both set", "keep secret_file");
    }
    let secret = file.or(inline).filter(|text| !text.is_empty()).map(Secret::new);
    let mut kinds: Vec<String> = KINDS_DEFAULT.into_iter().map(str::to_owned).collect();
    if let Some(given) = section.strings("kinds") {
        for kind in given.iter().filter(|kind| !KINDS.contains(&kind.value.as_str())) {
            let problem = format!("\"{}\" is no kind of event", kind.value);
            section.error("kinds", problem, format!("use any of {}", KINDS.join(", ")));
        }
        kinds = given.into_iter().map(|kind| kind.value).collect();
    }
    let ca = section.path("tls_ca");
    let is_secure = url.as_ref().is_some_and(|url| url.is_secure);
    let tls = match (is_secure, ca) {
        (true, Some(path)) => trust(&mut section, &path),
        (true, None) => {
            let remedy = "set tls_ca to a PEM file of authorities, as that of the system: \
                          /etc/ssl/certs/ca-certificates.crt";
            section.error("tls_ca", "nothing says whom to trust", remedy);
            None
        }
        (false, Some(_)) => {
            section.error("tls_ca", "the URL is not https", "write https://, or remove it");
            None
        }
        (false, None) => None,
    };
    section.finish();
    url.map(|url| Webhook { url, secret, tls, kinds })
}

fn read(section: &mut Section<'_, '_>, path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text.trim_end_matches(['\n', '\r']).to_owned()),
        Err(cause) => {
            let problem = format!("{} cannot be read: {cause}", path.display());
            section.error("secret_file", problem, "create it, readable by this process's user");
            None
        }
    }
}

fn trust(section: &mut Section<'_, '_>, path: &Path) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    if let Ok(found) = CertificateDer::pem_file_iter(path) {
        roots.add_parsable_certificates(found.flatten());
    }
    if roots.is_empty() {
        let problem = format!("{} holds no certificate that can be read", path.display());
        section.error("tls_ca", problem, "name a PEM file with BEGIN CERTIFICATE");
        return None;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.ok()?.with_root_certificates(roots).with_no_client_auth();
    Some(Arc::new(config))
}

/// Every kind of event.
pub const KINDS: [&str; 5] = ["status", "unknown_caller", "nearly_full", "rewritten", "call"];
/// Those told unless the file says otherwise: calls are many, and name people.
const KINDS_DEFAULT: [&str; 4] = ["status", "unknown_caller", "nearly_full", "rewritten"];
/// Octets of the path.
const PATH_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn errors(lines: &str) -> String {
        let text = format!("[sip]\nudp = [\"192.0.2.1:5060\"]\n[webhook]\n{lines}\n");
        match config::parse(&text, Path::new(".")) {
            Ok(_) => String::new(),
            Err(errors) => errors.to_string(),
        }
    }

    #[test]
    fn urls_are_read_in_their_parts() {
        let parts = |text: &str| Url::parse(text).map(|url| (url.host, url.port, url.path));
        let want = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(parts("http://h"), want("h", 80, "/"));
        assert_eq!(parts("https://h.example:8443/a/b?c=d"), want("h.example", 8443, "/a/b?c=d"));
        assert_eq!(parts("http://[2001:db8::1]:81/x"), want("2001:db8::1", 81, "/x"));
        assert_eq!(parts("http://[2001:db8::1]?x"), want("2001:db8::1", 80, "/?x"));
        for bad in
            ["", "h", "ftp://h", "http://", "http://h:0", "http://h:x", "http://u@h/", "http://h/ "]
        {
            assert_eq!(parts(bad), None, "{bad}");
        }
        let whole = "https://h.example:8443/a/b?c=d";
        for length in 0..whole.len() {
            let _no_panic = Url::parse(&whole[..length]);
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        assert_eq!(errors("url = \"http://h/\""), "");
        for (lines, field) in [
            ("", "url"),
            ("url = \"h\"", "url"),
            ("url = \"https://h\"", "tls_ca"),
            ("url = \"http://h\"\ntls_ca = \"x.pem\"", "tls_ca"),
            ("url = \"https://h\"\ntls_ca = \"/nonexistent.pem\"", "tls_ca"),
            ("url = \"http://h\"\nkinds = [\"statuses\"]", "kinds"),
            ("url = \"http://h\"\nsecret_file = \"/nonexistent\"", "secret_file"),
        ] {
            assert!(errors(lines).contains(field), "{lines}: {}", errors(lines));
        }
    }
}
