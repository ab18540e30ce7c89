//! What of the host makes every packet dearer or later, whatever the configuration.

use std::time::Instant;

use super::Finding;
use crate::pin::Host;

/// All of it. `call_ns` is what a system call costs here.
pub fn findings(host: &Host, call_ns: u64) -> Vec<Finding> {
    let found = [clock(host), Some(mitigations(host, call_ns)), steal(host), swap(host)];
    found.into_iter().flatten().collect()
}

/// The cost of the cheapest system call, in nanoseconds: the best of a few thousands in a row.
pub fn system_call_ns() -> u64 {
    let batch = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            let _parent = rustix::process::getppid();
        }
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX) / CALLS
    };
    (0..BATCHES).map(|_| batch()).min().unwrap_or(0)
}

/// Whether reading the time is a function call or a trip to a device.
fn clock(host: &Host) -> Option<Finding> {
    let now = host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    let what = format!("time is read from {now}");
    if FAST_CLOCKS.contains(&now.as_str()) {
        return Some(Finding::ok("clock", what));
    }
    let remedy = "see `dmesg | grep -i clocksource` for why tsc was given up; on a virtual machine \
                  ask for an invariant TSC";
    Some(Finding::warn("clock", format!("{what}: each reading is a system call"), remedy))
}

/// What guards against the processor's flaws cost at each system call, measured.
fn mitigations(host: &Host, call_ns: u64) -> Finding {
    let names = host.list(FLAWS);
    let state = |name: &String| host.read(&format!("{FLAWS}/{name}"));
    let guarded: Vec<&String> = names
        .iter()
        .filter(|name| state(name).is_some_and(|text| text.contains("Mitigation")))
        .collect();
    let guards: Vec<&str> = guarded.iter().map(|name| name.as_str()).collect();
    let guards = if guards.is_empty() { "none".to_owned() } else { guards.join(", ") };
    let what =
        format!("a system call costs {call_ns} ns; guards against processor flaws: {guards}");
    if call_ns <= CALL_DEAR_NS {
        return Finding::ok("mitigations", what);
    }
    let remedy = "take a backend with fewer calls per packet (media.backend = \"packet\" or \"xdp\"); on \
                  a host that runs nobody else's programs the kernel parameter mitigations=off";
    Finding::warn("mitigations", what, remedy)
}

/// Time that the hypervisor gave to others while we wanted it.
fn steal(host: &Host) -> Option<Finding> {
    let stat = host.read("/proc/stat")?;
    let fields = stat.lines().next()?.split_ascii_whitespace().skip(1);
    let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq softirq steal; guest times are in user already.
    let total: u64 = ticks.iter().take(8).sum();
    let stolen = *ticks.get(7)?;
    let per_mille = stolen.saturating_mul(1_000).checked_div(total)?;
    let what = format!(
        "{}.{} % of processor time went to other virtual machines",
        per_mille / 10,
        per_mille % 10
    );
    if per_mille < STEAL_PER_MILLE {
        return Some(Finding::ok("steal", what));
    }
    let remedy = "workers stand still meanwhile and calls stutter: ask for dedicated cores";
    Some(Finding::warn("steal", what, remedy))
}

/// Keys must not reach a disk.
fn swap(host: &Host) -> Option<Finding> {
    let swaps = host.read("/proc/swaps")?;
    let areas = swaps.lines().skip(1).count();
    if areas == 0 {
        return Some(Finding::ok("swap", "there is none"));
    }
    let what = format!("{areas} areas; the data plane locks its memory, signaling does not");
    Some(Finding::warn("swap", what, "turn it off, or encrypt it: passwords and keys may reach it"))
}

/// Read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "pvclock"];
const FLAWS: &str = "/sys/devices/system/cpu/vulnerabilities";
/// Dearer than this, the calls of a packet cost more than its encryption.
const CALL_DEAR_NS: u64 = 500;
/// A hundredth: a stall of 20 ms each two seconds.
const STEAL_PER_MILLE: u64 = 10;
const CALLS: u64 = 5_000;
const BATCHES: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::{OK, WARN};
    use super::*;
    use crate::pin::Laid;

    fn levels(tree: &str, name: &str, call_ns: u64) -> Vec<(String, &'static str)> {
        let laid = Laid::out(tree, name);
        let found = findings(&Host::recorded(laid.path()), call_ns);
        for finding in &found {
            assert_eq!(finding.level == OK, finding.remedy.is_empty(), "{}", finding.what);
        }
        found.into_iter().map(|finding| (finding.name, finding.level)).collect()
    }

    #[test]
    fn a_good_host_and_a_bad_one_are_told_apart() {
        let good = "/sys/devices/system/clocksource/clocksource0/current_clocksource = tsc\n\
                    /sys/devices/system/cpu/vulnerabilities/meltdown = Not affected\n\
                    /proc/stat = cpu 900 0 90 9000 0 0 0 9 0 0\n\
                    /proc/swaps = Filename Type Size Used Priority\n";
        let bad = "/sys/devices/system/clocksource/clocksource0/current_clocksource = hpet\n\
                   /sys/devices/system/cpu/vulnerabilities/meltdown = Mitigation: PTI\n\
                   /proc/stat = cpu 900 0 90 9000 0 0 0 500 0 0\n\
                   /proc/swaps = Filename Type Size Used Priority\n\
                   /proc/swaps += /dev/sda2 partition 1000 0 -2\n";
        let names = ["clock", "mitigations", "steal", "swap"];
        let all = |level| names.map(|name| (name.to_owned(), level)).to_vec();
        assert_eq!(levels(good, "check-good", 80), all(OK));
        assert_eq!(levels(bad, "check-bad", 900), all(WARN));
        assert_eq!(levels("/x = y", "check-empty", 80).len(), 1, "what is not told is not judged");
    }

    #[test]
    fn damaged_files_are_read_or_left_out() {
        for text in ["", "?", "cpu", "cpu x y z", "cpu 1 2 3 4 5 6 7", "cpu 0 0 0 0 0 0 0 0"] {
            let _read = levels(&format!("/proc/stat = {text}"), "check-damaged", 1);
        }
    }

    #[test]
    fn a_system_call_costs_something() {
        assert!((1..1_000_000).contains(&system_call_ns()));
    }
}
