//! Whether connection tracking follows every media packet.

use std::ops::RangeInclusive;

use super::Finding;
use crate::pin::{Host, bypass, ports};

/// One finding: tracking about doubles the kernel's share of a packet, and a full table drops calls.
pub fn finding(host: &Host, range: &RangeInclusive<u16>) -> Finding {
    let number = |name: &str| -> Option<u64> {
        host.read(&format!("/proc/sys/net/netfilter/{name}"))?.trim().parse().ok()
    };
    let Some(most) = number("nf_conntrack_max") else {
        return Finding::ok(NAME, "the kernel tracks no connections");
    };
    let wanted = format!("{}-{}", range.start(), range.end());
    let bypass = bypass::read(host);
    if bypass.as_deref().is_some_and(|bypass| ports::covers(bypass, &wanted)) {
        return Finding::ok(NAME, format!("media ports {wanted} pass connection tracking by"));
    }
    let tracked = number("nf_conntrack_count").unwrap_or_default();
    if tracked == 0 {
        return Finding::ok(NAME, "connection tracking is loaded and follows nothing here");
    }
    let what = format!(
        "the kernel tracks connections, {tracked} of {most} at most, and each media flow of \
         {wanted} would be one: more CPU for every packet, and lost calls when the table is full"
    );
    let nft = if bypass.is_none() { "install nftables, then: " } else { "" };
    Finding::warn(NAME, what, format!("{nft}trunkline pin apply --only conntrack"))
}

const NAME: &str = "conntrack";

#[cfg(test)]
mod tests {
    use super::super::{OK, WARN};
    use super::*;
    use crate::pin::Laid;

    #[test]
    fn tracked_media_is_told_with_the_remedy_and_untracked_is_not() {
        const LOADED: &str = "/proc/sys/net/netfilter/nf_conntrack_max = 262144\n\
                              /proc/sys/net/netfilter/nf_conntrack_count = ";
        const RULES: &str = "\n/programs/nft list table inet trunkline_media = table inet x\n\
                             /programs/nft list table inet trunkline_media += udp dport ";
        let range = 30_000..=39_999;
        for (number, (tree, level, words)) in [
            (String::new(), OK, "tracks no"),
            (format!("{LOADED}0"), OK, "follows nothing"),
            (format!("{LOADED}7"), WARN, "7 of 262144"),
            (format!("{LOADED}7{RULES}30000-39999 notrack"), OK, "pass connection tracking"),
            (format!("{LOADED}7{RULES}30000-49999 notrack"), OK, "pass connection tracking"),
            (format!("{LOADED}7{RULES}30000-34999 notrack"), WARN, "30000-39999"),
            (format!("{LOADED}7{RULES}x notrack"), WARN, "30000-39999"),
        ]
        .into_iter()
        .enumerate()
        {
            let laid = Laid::out(&tree, &format!("check-conntrack-{number}"));
            let found = finding(&Host::recorded(laid.path()), &range);
            assert_eq!(found.level, level, "{tree}: {}", found.what);
            assert!(found.what.contains(words), "{}", found.what);
            assert_eq!(found.remedy.is_empty(), level == OK);
            let installs = found.remedy.starts_with("install nftables");
            assert_eq!(installs, level == WARN && !tree.contains("nft"), "{}", found.remedy);
        }
    }
}
