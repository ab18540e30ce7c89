//! Media packets past connection tracking, by a table of our own in nftables.
//!
//! The table holds nothing else, so undoing is deleting it; rules of others are never touched.

use std::io;

use super::host::Host;

/// The untracked range of ports: empty when the table is not there, `None` when `nft` is not.
pub fn read(host: &Host) -> Option<String> {
    match host.run("nft", &["list", "table", "inet", TABLE]) {
        Ok(text) => Some(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(String::new()),
    }
}

/// Makes `ports` (`30000-39999`) the untracked range; the empty text removes the table.
///
/// # Errors
/// What `nft` says.
pub fn write(host: &Host, ports: &str) -> io::Result<()> {
    let delete = format!("table inet {TABLE} {{ }}; delete table inet {TABLE}");
    let text = if ports.is_empty() { delete } else { format!("{delete}; {}", table(ports)) };
    host.run("nft", &[&text]).map(drop)
}

/// Both ways, before tracking looks at the packet.
fn table(ports: &str) -> String {
    format!(
        "table inet {TABLE} {{ \
         chain received {{ type filter hook prerouting priority raw; udp dport {ports} notrack; }}; \
         chain sent {{ type filter hook output priority raw; udp sport {ports} notrack; }}; }}"
    )
}

fn parse(text: &str) -> String {
    let rule = text.lines().find_map(|line| line.trim().strip_prefix("udp dport "));
    rule.and_then(|rule| rule.strip_suffix(" notrack")).unwrap_or_default().to_owned()
}

const TABLE: &str = "trunkline_media";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_found_in_what_nft_lists() {
        let text = "table inet trunkline_media {\n\tchain received {\n\t\ttype filter hook prerouting \
                    priority raw; policy accept;\n\t\tudp dport 30000-39999 notrack\n\t}\n}\n";
        assert_eq!(parse(text), "30000-39999");
        assert_eq!(parse("table inet trunkline_media {\n}\n"), "");
    }
}
