//! As many queues as workers.

use crate::pin::interfaces::queue_counts;
use crate::pin::setting::{Place, Setting};

use super::{Context, NO_INTERFACE, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "queues",
    explanation: "an interface with one queue for each worker hands each its packets on its own \
                  core; fewer make one core take in what others relay, more wake cores for nothing",
    privilege: "CAP_NET_ADMIN; the link may be down for a moment",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let Some(name) = &context.plan.interface else { return Scope::Nothing(NO_INTERFACE.into()) };
    let Some(counts) = queue_counts(context.host, name) else {
        return Scope::Nothing(format!("{name} does not tell of its queues, or has no ethtool"));
    };
    let wanted = context.plan.placements.len().min(counts.most);
    let place = Place::Queues { interface: name.clone() };
    Scope::Settings(vec![Setting { place, wanted: wanted.to_string() }])
}
