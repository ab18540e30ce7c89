//! Names in a certificate, for comparison with what the operator lists.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Lower-case names of a certificate: DNS names, addresses and hosts of SIP URIs from the subject
/// alternative names; the common names only when there are none (RFC 5922 §7.1). `None` when it
/// is no X.509 certificate.
///
/// A wildcard stays the text that it is: it equals only an allow-list entry written the same way
/// (RFC 5922 §7.2 forbids matching it).
pub(super) fn names(certificate: &[u8]) -> Option<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut names: Vec<String> = Vec::new();
    if let Ok(Some(alternatives)) = parsed.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(general_name));
    }
    if names.is_empty() {
        let common = parsed.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_ascii_lowercase));
    }
    names.sort();
    names.dedup();
    Some(names)
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        // A SIP domain certificate names the domain, without user (RFC 5922 §4).
        GeneralName::URI(uri) => {
            let uri = uri.to_ascii_lowercase();
            let rest = uri.strip_prefix("sip:").or_else(|| uri.strip_prefix("sips:"))?;
            let host = rest.split([';', '?']).next().filter(|host| !host.contains('@'))?;
            Some(host.to_owned())
        }
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
