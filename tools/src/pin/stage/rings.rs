//! Room in the interface for what comes while a worker is late.

use crate::pin::interfaces::ring_sizes;
use crate::pin::setting::{Place, Setting};

use super::{Context, NO_INTERFACE, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "rings",
    explanation: "frames that come while a core is late wait in the interface's receive ring; those \
                  that find it full are lost",
    privilege: "CAP_NET_ADMIN; the link may be down for a moment",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let Some(name) = &context.plan.interface else { return Scope::Nothing(NO_INTERFACE.into()) };
    let Some(sizes) = ring_sizes(context.host, name) else {
        return Scope::Nothing(format!("{name} does not tell of its rings, or has no ethtool"));
    };
    let place = Place::Ring { interface: name.clone() };
    Scope::Settings(vec![Setting { place, wanted: sizes.most.min(FRAMES).to_string() }])
}

/// What 200,000 packets/s on one queue are in 5 ms. More room would keep packets that are too old to
/// be heard, in more memory than a cache has.
const FRAMES: usize = 1024;
