//! Media ports are not given to others.

use crate::pin::ports;
use crate::pin::setting::{Form, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "ports",
    explanation: "a program that asks for any port must not get one of the media range: a call that \
                  needs it would have to do without, or take its packets",
    privilege: "root",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let range = &context.needs.ports;
    let local = context.host.read(&format!("{AT}/ip_local_port_range")).unwrap_or_default();
    if !ports::is_given_away(&local, range) {
        let local = local.split_ascii_whitespace().collect::<Vec<_>>().join("-");
        let (first, last) = (range.start(), range.end());
        return Scope::Nothing(format!("the kernel gives away {local}, media has {first}-{last}"));
    }
    let path = format!("{AT}/ip_local_reserved_ports");
    let now = context.host.read(&path).unwrap_or_default();
    Scope::Settings(vec![Setting::file(path, Form::Ports, ports::with(&now, range))])
}

const AT: &str = "/proc/sys/net/ipv4";
