//! Room for what arrives while a worker is busy.

use dataplane::limits::{FAN_IN_BUFFER, WIRE_BUFFER};

use crate::pin::setting::{Form, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "buffers",
    explanation: "a worker asks for a receive buffer that holds a stall of some milliseconds; \
                  without CAP_NET_ADMIN it gets no more than this limit, and drops the rest",
    privilege: "root",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let at = "/proc/sys/net/core";
    let mut settings = vec![
        Setting::file(format!("{at}/rmem_max"), Form::AtLeast, FAN_IN_BUFFER.to_string()),
        Setting::file(format!("{at}/wmem_max"), Form::AtLeast, WIRE_BUFFER.to_string()),
    ];
    let plan = context.plan;
    let interface = plan.interface.as_ref().and_then(|name| context.topology.interface(name));
    // Packets wait there only between two cores.
    if interface.is_some_and(|one| one.receive.len() < plan.placements.len()) {
        let path = format!("{at}/netdev_max_backlog");
        settings.push(Setting::file(path, Form::AtLeast, BACKLOG.to_string()));
    }
    Scope::Settings(settings)
}

/// Packets that wait for a core: 20 ms of 500,000 a second.
const BACKLOG: u32 = 10_000;
