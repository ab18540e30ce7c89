//! All memory of the data plane may be locked.

use crate::pin::service::{self, DATAPLANE};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "memlock",
    explanation: "keys of live calls must never reach swap, and a worker must never wait for a page: \
                  the data plane locks its memory, as far as this limit allows",
    privilege: "root (a drop-in of the unit; systemctl daemon-reload and a restart follow)",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let enough = |value: &str| value == "infinity";
    service::limit(context.host, DATAPLANE, "LimitMEMLOCK", "infinity", enough)
}
