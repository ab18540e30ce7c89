//! Names in a certificate, for comparison with what the operator lists.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Lower-case names of a certificate, by RFC 5922 §7.1: hosts of SIP URIs from the subject
/// alternative names; DNS names only without such a URI; common names only without alternative
/// names. Addresses count beside either, because trunks are configured by address too. `None` when
/// it is no X.509 certificate.
///
/// A wildcard stays the text that it is: it equals only an allow-list entry written the same way
/// (RFC 5922 §7.2 forbids matching it).
pub(super) fn names(certificate: &[u8]) -> Option<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut names: Vec<String> = Vec::new();
    // One that cannot be read is there all the same.
    let alternatives = parsed.subject_alternative_name();
    let has_alternatives = !matches!(alternatives, Ok(None));
    if let Ok(Some(alternatives)) = alternatives {
        let all = &alternatives.value.general_names;
        names.extend(all.iter().filter_map(sip_domain));
        let is_sip = !names.is_empty();
        names.extend(all.iter().filter_map(|name| plain_name(name, is_sip)));
    }
    if !has_alternatives {
        let common = parsed.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_ascii_lowercase));
    }
    names.sort();
    names.dedup();
    Some(names)
}

/// The domain of a SIP URI: scheme `sip`, no user (RFC 5922 §7.1; `sips` is no domain identity).
fn sip_domain(name: &GeneralName<'_>) -> Option<String> {
    let GeneralName::URI(uri) = name else { return None };
    let uri = uri.to_ascii_lowercase();
    let rest = uri.strip_prefix("sip:")?;
    let host = rest.split([';', '?']).next().filter(|host| !host.contains('@'))?;
    (!host.is_empty()).then(|| host.to_owned())
}

/// An address, or a DNS name where those count.
fn plain_name(name: &GeneralName<'_>, is_sip: bool) -> Option<String> {
    match name {
        GeneralName::DNSName(name) if !is_sip => {
            // A name with a NUL or another control character in it is nobody's (RFC 5280 §4.2.1.6).
            let is_clean = name.bytes().all(|byte| byte.is_ascii_graphic());
            is_clean.then(|| name.trim_end_matches('.').to_ascii_lowercase())
        }
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(uri: &str) -> SanType {
        SanType::URI(uri.try_into().unwrap())
    }

    fn of(alternatives: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = alternatives;
        params.distinguished_name.push(DnType::CommonName, "Common.Example");
        let key = KeyPair::generate().unwrap();
        names(params.self_signed(&key).unwrap().der()).unwrap()
    }

    /// RFC 5922 §7.1, rule by rule.
    #[test]
    fn identities_are_those_of_the_rfc() {
        let address = SanType::IpAddress("192.0.2.7".parse().unwrap());
        let mail = SanType::Rfc822Name("admin@mail.example".try_into().unwrap());
        for (alternatives, expected) in [
            // Without alternative names the common name counts, with any it does not.
            (vec![], &["common.example"][..]),
            (vec![mail], &[]),
            (vec![dns("A.Example"), address.clone()], &["192.0.2.7", "a.example"]),
            // A SIP URI silences DNS names.
            (vec![dns("a.example"), uri("sip:B.example")], &["b.example"]),
            (vec![uri("sip:b.example;x=y"), address], &["192.0.2.7", "b.example"]),
            // Neither a user nor another scheme is a domain.
            (vec![dns("a.example"), uri("sip:me@b.example")], &["a.example"]),
            (vec![uri("sips:b.example")], &[]),
            (vec![uri("https://b.example")], &[]),
            // RFC 5922 §7.2: a wildcard matches nothing but its own text.
            (vec![dns("*.example")], &["*.example"]),
        ] {
            assert_eq!(of(alternatives.clone()), expected, "{alternatives:?}");
        }
        assert_eq!(names(b"no certificate"), None);
    }
}
