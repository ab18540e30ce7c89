//! Enough open files for every call.

use crate::pin::service::{self, DATAPLANE};
use crate::pin::setting::{Form, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "nofile",
    explanation: "where each port has a socket (backends uring and mmsg), a call takes four open \
                  files; beyond the limit calls are refused",
    privilege: "root (a drop-in of the unit; systemctl daemon-reload and a restart follow)",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let needed = context.needs.descriptors;
    let enough = |value: &str| {
        value == "infinity" || value.parse::<u64>().is_ok_and(|value| value >= needed)
    };
    let ceiling = Setting::file("/proc/sys/fs/nr_open", Form::AtLeast, needed.to_string());
    let unit = service::limit(context.host, DATAPLANE, "LimitNOFILE", &needed.to_string(), enough);
    let mut settings = vec![ceiling];
    if let Scope::Settings(more) = unit {
        settings.extend(more);
    }
    Scope::Settings(settings)
}
