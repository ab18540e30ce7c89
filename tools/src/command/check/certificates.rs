//! Certificates of ours and those of authorities: until when, for which names, who can read the keys.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use signaling::config::Config;
use signaling::net::{self, EXPIRY_WARNING_DAYS, Shown};
use signaling::trunk::Host;

use super::Finding;

pub fn findings(config: &Config) -> Vec<Finding> {
    let sip = &config.sip;
    let tls =
        config.trunks.iter().filter(|trunk| trunk.enabled).filter_map(|trunk| trunk.tls.as_ref());
    let of_trunks = |file: fn(&signaling::trunk::TlsSettings) -> Option<&Path>| {
        tls.clone().filter_map(file).collect::<BTreeSet<&Path>>()
    };
    let mut own = of_trunks(|tls| tls.client_cert.as_deref());
    own.extend(sip.tls_certificate.as_deref());
    let mut keys = of_trunks(|tls| tls.client_key.as_deref());
    keys.extend(sip.tls_key.as_deref());
    let mut authorities = of_trunks(|tls| tls.ca.as_deref());
    authorities.extend(sip.tls_ca.as_deref());
    let mut found: Vec<Finding> = Vec::new();
    for file in own {
        let advertised =
            sip.advertise.as_ref().filter(|_| sip.tls_certificate.as_deref() == Some(file));
        found.push(judge(file, |chain| certificate(file, chain, advertised)));
    }
    found.extend(authorities.into_iter().map(|file| judge(file, |all| authority(file, all))));
    found.extend(keys.into_iter().filter_map(key));
    found
}

fn judge(file: &Path, verdict: impl Fn(&[Shown]) -> Finding) -> Finding {
    match net::certificates(file) {
        Ok(shown) => verdict(&shown),
        Err(error) => {
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
            Finding::fail("certificate", what, remedy)
        }
    }
}

/// One of ours: the first of the chain is it, the others must outlive it.
fn certificate(file: &Path, chain: &[Shown], advertised: Option<&Host>) -> Finding {
    let Some(own) = chain.first() else {
        return Finding::fail(
            "certificate",
            format!("{}: empty", file.display()),
            "name another file",
        );
    };
    let names = own.names.join(", ");
    let what = format!("{}: {names}; {}", file.display(), ends(own));
    if own.days_left < 0 {
        return Finding::fail("certificate", what, "renew it; no peer accepts it");
    }
    if let Some(short) = chain.iter().find(|one| one.days_left < EXPIRY_WARNING_DAYS) {
        let what = format!("{what}; {}: {}", short.subject, ends(short));
        return Finding::warn("certificate", what, "renew it, and give the gateway the new file");
    }
    match advertised {
        Some(Host::Name(name)) if !own.names.iter().any(|known| covers(known, name)) => {
            let what = format!("{what}; not for {name}, which [sip] advertise tells peers");
            Finding::warn("certificate", what, "request one with that name, or advertise another")
        }
        _ => Finding::ok("certificate", what),
    }
}

/// RFC 5922 §7.2 knows no wildcards, but peers that do not come from SIP do.
fn covers(known: &str, name: &str) -> bool {
    let known = known.trim_start_matches("DNS:");
    known.eq_ignore_ascii_case(name)
        || known.strip_prefix("*.").is_some_and(|domain| {
            name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain))
        })
}

/// A file of authorities: a store of a distribution always has some that are past.
fn authority(file: &Path, all: &[Shown]) -> Finding {
    let valid = all.iter().filter(|one| one.days_left >= 0);
    let Some(soonest) = valid.clone().min_by_key(|one| one.days_left) else {
        let what = format!("{}: every authority has expired", file.display());
        return Finding::fail(
            "authorities",
            what,
            "put the authorities of the peers' certificates there",
        );
    };
    let what = format!(
        "{}: {} of {} valid; first to end: {}, {}",
        file.display(),
        valid.count(),
        all.len(),
        soonest.subject,
        ends(soonest)
    );
    if soonest.days_left < EXPIRY_WARNING_DAYS {
        return Finding::warn(
            "authorities",
            what,
            "ask the peers for the authority that follows it",
        );
    }
    Finding::ok("authorities", what)
}

/// A key that others can read is no secret.
fn key(file: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    let what = format!("{} has mode {mode:03o}", file.display());
    if mode & 0o007 == 0 {
        return Some(Finding::ok("key", what));
    }
    let remedy = format!("chmod 640 {}, owned by root and the gateway's group", file.display());
    Some(Finding::warn("key", format!("{what}: everybody on this host can read it"), remedy))
}

fn ends(one: &Shown) -> String {
    format!("ends {} ({} days)", one.not_after, one.days_left)
}

#[cfg(test)]
mod tests {
    use super::super::{FAIL, OK, WARN};
    use super::*;

    fn shown(days_left: i64) -> Shown {
        Shown {
            subject: "CN=gw".into(),
            issuer: "CN=ca".into(),
            names: vec!["gw.example.com".into(), "*.voice.example.com".into()],
            not_after: "some day".into(),
            days_left,
        }
    }

    #[test]
    fn dates_and_names_decide() {
        let file = Path::new("gateway.pem");
        let name = |text: &str| Host::Name(text.to_owned());
        for (days, advertised, level, words) in [
            (90, None, OK, "gw.example.com"),
            (90, Some(name("GW.example.com")), OK, "90 days"),
            (90, Some(name("a.voice.example.com")), OK, ""),
            (90, Some(name("a.b.voice.example.com")), WARN, "not for a.b.voice"),
            (90, Some(name("other.example.com")), WARN, "not for other"),
            (29, None, WARN, "29 days"),
            (-1, None, FAIL, "-1 days"),
        ] {
            let found = certificate(file, &[shown(days)], advertised.as_ref());
            assert_eq!(found.level, level, "{}", found.what);
            assert!(found.what.contains(words), "{}", found.what);
            assert_eq!(found.remedy.is_empty(), level == OK);
        }
        let chain = [shown(90), shown(10)];
        assert_eq!(certificate(file, &chain, None).level, WARN, "an intermediate ends first");
        assert_eq!(certificate(file, &[], None).level, FAIL);
    }

    #[test]
    fn a_store_with_some_past_authorities_is_good_and_one_of_past_ones_is_not() {
        let file = Path::new("ca.pem");
        assert_eq!(authority(file, &[shown(-5), shown(400)]).level, OK);
        assert_eq!(authority(file, &[shown(5), shown(400)]).level, WARN);
        assert_eq!(authority(file, &[shown(-5)]).level, FAIL);
    }

    #[test]
    fn a_key_for_everybody_is_told() {
        let file = std::env::temp_dir().join(format!("trunkline-key-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        for (mode, level) in [(0o600, OK), (0o640, OK), (0o644, WARN)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(key(&file).unwrap().level, level);
        }
        std::fs::remove_file(file).unwrap();
    }
}
