//! `[[network]]`: addresses of media beside those of `[media]`, which trunks name.

use std::net::IpAddr;

use super::error::Findings;
use super::media::{self, Media, MediaBackend};
use super::named::{Known, named, own_name};
use super::place;
use super::section::Section;

/// The values of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// What trunks call it.
    pub name: String,
    /// As [`Media::addresses`]; no other network has them.
    pub addresses: Vec<IpAddr>,
    /// As [`Media::advertise`].
    pub advertise: Vec<IpAddr>,
    /// As [`Media::backend`], and that where the section says nothing.
    pub backend: MediaBackend,
    /// As [`Media::xdp_tx`].
    pub xdp_tx: bool,
}

/// Reads the next network of a configuration.
pub(super) fn read(mut section: Section<'_, '_>, media: &Media) -> Network {
    let name = name(media.networks.len(), &mut section);
    let addresses = section.addresses("address").unwrap_or_default();
    media::check_addresses(&mut section, "address", &addresses);
    if !(1..=media::ADDRESSES_MAX).contains(&addresses.len()) {
        let problem = format!("{} addresses", addresses.len());
        let remedy = format!("name 1 to {} addresses of this host", media::ADDRESSES_MAX);
        section.error("address", problem, remedy);
    }
    if let Some(twice) = addresses.iter().find(|ip| media.local().any(|taken| taken == **ip)) {
        let remedy = "each address belongs to one network: remove it from one";
        section.error("address", format!("another network has {twice}"), remedy);
    }
    let advertise = media::advertise(&mut section, &addresses);
    let backend = backend(&mut section, media);
    let xdp_tx = media::xdp_tx(&mut section, backend);
    if media.networks.iter().any(|other| other.name == name) {
        section.error("name", "another network has this name", "give each its own");
    }
    section.finish();
    Network { name, addresses, advertise, backend, xdp_tx }
}

/// As [`media::backend`], where all networks can be served by the same workers.
fn backend(section: &mut Section<'_, '_>, media: &Media) -> MediaBackend {
    let backend = media::backend(section).unwrap_or(media.backend);
    if !backend.goes_with(media.backend) {
        let problem = "a worker has one way to receive, and [media] says another";
        let remedy = "give all networks the same, or \"packet\" to some and \"xdp\" to the others";
        section.error("backend", problem, remedy);
    }
    backend
}

fn name(before: usize, section: &mut Section<'_, '_>) -> String {
    let allowed = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let fits = |name: &str| name.chars().all(allowed);
    let remedy = "give it 1 to 64 letters, digits or any of . _ -";
    own_name(section, "network", place(before), fits, remedy)
}

/// Reports networks that are too many.
pub(super) fn check_count(media: &Media, findings: &mut Findings) {
    if media.networks.len() >= NETWORKS_MAX {
        let problem = format!("{} networks and that of [media]", media.networks.len());
        let remedy = format!("keep at most {NETWORKS_MAX} together");
        findings.error(0, "[[network]]", problem, remedy);
    }
}

/// Of a trunk: the number of the network that it names, 0 for that of `[media]`.
pub(super) fn of_trunk(section: &mut Section<'_, '_>, media: &Media) -> u32 {
    let names = media.networks.iter().enumerate();
    let all = names.map(|(before, network)| (place(before), network.name.as_str())).collect();
    let known = Known { kind: "[[network]]", all };
    let given = section.string("media_network");
    given.and_then(|_| named(section, "media_network", &known, &[])).unwrap_or(0)
}

/// Networks at most, that of `[media]` included, as in the data plane.
pub const NETWORKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigErrors, parse};

    fn with(more: &str) -> Result<Config, ConfigErrors> {
        let head = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[media]\naddress = \"192.0.2.1\"\n";
        parse(&format!("{head}{more}"), Path::new("."))
    }

    fn inside(fields: &str) -> String {
        format!("[[network]]\nname = \"inside\"\naddress = \"10.0.0.1\"\n{fields}")
    }

    const TRUNK: &str =
        "[[trunk]]\nname = \"t\"\nhost = \"192.0.2.7\"\nmedia_network = \"inside\"\n";

    #[test]
    fn a_trunk_names_the_network_of_its_media() {
        let config = with(&(inside("advertise = \"198.51.100.1\"\n") + TRUNK)).unwrap();
        assert_eq!(config.trunks[0].manner.media_place.network, 1);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(config.media.by_network(), [[address("192.0.2.1")], [address("10.0.0.1")]]);
        assert_eq!(config.media.told(), [(address("10.0.0.1"), address("198.51.100.1"))]);
        let plain = with(&TRUNK.replace("media_network = \"inside\"\n", "")).unwrap();
        assert_eq!(plain.trunks[0].manner.media_place.network, 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (more, field, cause) in [
            (String::from(TRUNK), "media_network", "there is no [[network]] \"inside\""),
            (inside("") + &inside("").replace("10.0.0.1", "10.0.0.2"), "name", "this name"),
            (inside("") + &inside("").replace("inside", "b"), "address", "has 10.0.0.1"),
            (inside("").replace("10.0.0.1", "192.0.2.1"), "address", "has 192.0.2.1"),
            (inside("").replace("10.0.0.1", "0.0.0.0"), "address", "cannot stand"),
            (String::from("[[network]]\nname = \"a\"\n"), "address", "0 addresses"),
            (inside("").replace("inside", "in side"), "name", "not a name"),
            (inside("advertise = \"2001:db8::1\"\n"), "advertise", "IPv6"),
            (inside("xdp_tx = true\n"), "xdp_tx", "only the backend"),
            (inside("cores = 1\n"), "cores", "there is no field of this name"),
        ] {
            let errors = with(&more).err().unwrap_or_else(|| panic!("{more}"));
            let text = errors.to_string();
            assert!(text.contains(field) && text.contains(cause), "{more}: {text}");
        }
    }

    #[test]
    fn a_network_is_served_as_it_says_or_as_media_does() {
        use MediaBackend::{Auto, Packet, Uring, Xdp};
        // [media], the network; the workers', and which of both takes frames at the driver.
        for (own, other, workers, xdp) in [
            ("xdp", "", Xdp, [true, true]),
            ("xdp", "packet", Xdp, [true, false]),
            ("xdp", "auto", Xdp, [true, false]),
            ("packet", "xdp", Xdp, [false, true]),
            ("auto", "xdp", Xdp, [false, true]),
            ("auto", "packet", Auto, [false, false]),
            ("packet", "", Packet, [false, false]),
            ("uring", "", Uring, [false, false]),
            ("uring", "uring", Uring, [false, false]),
        ] {
            let named = |backend: &str| match backend {
                "" => String::new(),
                name => format!("backend = \"{name}\"\n"),
            };
            let config = with(&(named(own) + &inside(&named(other)))).unwrap();
            assert_eq!(config.media.workers_backend(), workers, "{own} {other}");
            assert_eq!(config.media.takes_xdp(), xdp, "{own} {other}");
        }
        for (own, other) in [("uring", "xdp"), ("mmsg", "uring"), ("xdp", "mmsg"), ("auto", "mmsg")]
        {
            let text =
                format!("backend = \"{own}\"\n{}", inside(&format!("backend = \"{other}\"\n")));
            let errors = with(&text).unwrap_err().to_string();
            assert!(
                errors.contains("backend") && errors.contains("one way to receive"),
                "{errors}"
            );
        }
        let interfaces = |own: &str, other: &str| {
            let own = format!("backend = \"{own}\"\ninterfaces = [\"eth0\"]\n");
            with(&(own + &inside(&format!("backend = \"{other}\"\n"))))
        };
        for (own, other) in [("xdp", "packet"), ("packet", "xdp"), ("auto", "xdp")] {
            assert_eq!(interfaces(own, other).unwrap().media.interfaces, ["eth0"], "{own} {other}");
        }
        let errors = interfaces("auto", "packet").unwrap_err().to_string();
        assert!(
            errors.contains("[media] field interfaces") && errors.contains("[[network]]"),
            "{errors}"
        );
        let relaying = "backend = \"xdp\"\nxdp_tx = true\n";
        assert!(with(&inside(relaying)).unwrap().media.networks[0].xdp_tx);
    }

    #[test]
    fn networks_are_counted() {
        let all = |count: usize| -> String {
            (1..=count)
                .map(|n| format!("[[network]]\nname = \"n{n}\"\naddress = \"10.0.0.{n}\"\n"))
                .collect()
        };
        assert_eq!(with(&all(NETWORKS_MAX - 1)).unwrap().media.networks.len(), NETWORKS_MAX - 1);
        assert!(with(&all(NETWORKS_MAX)).unwrap_err().to_string().contains("at most 16"));
    }
}
