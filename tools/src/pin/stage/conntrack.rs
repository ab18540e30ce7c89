//! Media past connection tracking.

use crate::pin::setting::{Place, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "conntrack",
    explanation: "tracking every media flow about doubles the kernel's share of a packet, and a full \
                  table drops calls; the gateway itself checks where each packet comes from",
    privilege: "CAP_NET_ADMIN, and the program nft",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    if !context.host.exists("/proc/sys/net/netfilter/nf_conntrack_max") {
        return Scope::Nothing("connection tracking is not loaded".to_owned());
    }
    let range = &context.needs.ports;
    let wanted = format!("{}-{}", range.start(), range.end());
    Scope::Settings(vec![Setting { place: Place::Bypass, wanted }])
}
