//! Packets that come together are taken in together.

use crate::pin::setting::{Form, Setting};

use super::{Context, NO_INTERFACE, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "coalescing",
    explanation: "an interrupt for each packet costs more than relaying it: while packets come, the \
                  kernel looks for them by timer, as often as a worker would gather anyway, and \
                  after ten empty looks interrupts are back, so that silence costs nothing",
    privilege: "CAP_NET_ADMIN",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let Some(name) = &context.plan.interface else { return Scope::Nothing(NO_INTERFACE.into()) };
    if context.needs.gather_us == 0 {
        return Scope::Nothing("media.gather_us = 0 asks for every packet at once".to_owned());
    }
    let at = format!("/sys/class/net/{name}");
    let timeout_ns = u64::from(context.needs.gather_us) * 1_000;
    Scope::Settings(vec![
        Setting::file(format!("{at}/napi_defer_hard_irqs"), Form::Word, EMPTY_LOOKS.to_string()),
        Setting::file(format!("{at}/gro_flush_timeout"), Form::Word, timeout_ns.to_string()),
    ])
}

/// Ten looks of 200 us: a queue with ten calls or more stays with the timer.
const EMPTY_LOOKS: u32 = 10;
