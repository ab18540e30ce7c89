//! Full frequency on workers' cores.

use crate::pin::setting::{Form, Setting};

use super::{Context, Scope, Stage};

pub const STAGE: Stage = Stage {
    name: "governor",
    explanation: "a worker sleeps thousands of times a second, which a governor takes for little \
                  load: it slows the core down, and each packet waits longer",
    privilege: "root",
    scope,
};

fn scope(context: &Context<'_>) -> Scope {
    let mut settings = Vec::new();
    for cpu in context.plan.cpus() {
        let at = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq");
        let offered = context.host.read(&format!("{at}/scaling_available_governors"));
        if offered.is_some_and(|names| names.split_ascii_whitespace().any(|name| name == WANTED)) {
            settings.push(Setting::file(format!("{at}/scaling_governor"), Form::Word, WANTED));
        }
    }
    Scope::of(
        settings,
        "the kernel does not govern frequencies here (a virtual machine's host does)",
    )
}

const WANTED: &str = "performance";
