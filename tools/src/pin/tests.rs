//! Recorded hosts, drawn, planned for, checked, changed and restored.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::fixture::Laid;
use super::*;
use crate::pin::cpus::Cpus;

const TWO_SOCKETS: &str = include_str!("tests/hosts/two-sockets.txt");
const CLOUD: &str = include_str!("tests/hosts/cloud.txt");
const LAPTOP: &str = include_str!("tests/hosts/laptop.txt");

struct Scene {
    laid: Laid,
    host: Host,
    topology: Topology,
}

fn scene(text: &str, name: &str) -> Scene {
    let laid = Laid::out(text, name);
    let host = Host::recorded(laid.path());
    let topology = Topology::read(&host).unwrap();
    Scene { laid, host, topology }
}

impl Scene {
    fn plan(&self, workers: usize, interface: Option<&str>) -> Result<Plan, plan::PlanError> {
        let interface = interface.map(str::to_owned);
        Plan::make(&self.topology, &Request { workers, cores: Vec::new(), interface })
    }

    fn check(&self, plan: &Plan, needs: &Needs) -> BTreeMap<&'static str, Report> {
        let context = Context { host: &self.host, topology: &self.topology, plan, needs };
        ALL.iter().map(|stage| (stage.name, check(&context, stage))).collect()
    }
}

fn needs() -> Needs {
    let (ports, config) = (30_000..=39_999, None);
    Needs { ports, descriptors: 600_000, gather_us: 200, config, permanent: true }
}

fn list(text: &str) -> Cpus {
    Cpus::from_list(text).unwrap()
}

fn states(report: &Report) -> Vec<State> {
    report.settings.iter().map(|one| one.state).collect()
}

/// Every file below a directory with its text.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            found.insert(path.to_string_lossy().into_owned(), text);
        }
    }
    found
}

#[test]
fn hosts_are_drawn() {
    for (name, text) in [("two-sockets", TWO_SOCKETS), ("cloud", CLOUD), ("laptop", LAPTOP)] {
        let scene = scene(text, &format!("draw-{name}"));
        insta::assert_snapshot!(format!("show-{name}"), draw_host(&scene.topology, None));
        let workers = if name == "cloud" { 2 } else { 4 };
        let interface = media_interface(&scene.topology, &["198.51.100.10".parse().unwrap()]);
        let plan = scene.plan(workers, interface.as_deref()).unwrap();
        let drawn = format!("{}\n{}", draw_host(&scene.topology, Some(&plan)), draw_plan(&plan));
        insta::assert_snapshot!(format!("plan-{name}"), drawn);
        let parsed: serde_json::Value = serde_json::to_value(&scene.topology).unwrap();
        assert_eq!(parsed["cpus"].as_array().unwrap().len(), scene.topology.cpus.len());
    }
}

#[test]
fn workers_go_to_isolated_whole_cores_of_the_interfaces_node() {
    let scene = scene(TWO_SOCKETS, "plan-numa");
    let plan = scene.plan(8, Some("ens1f0")).unwrap();
    assert_eq!(plan.cpus(), [40, 41, 42, 43, 44, 45, 46, 47]);
    assert_eq!(plan.kernel, list("0,64"));
    assert_eq!(plan.quiet, list("104-111"));
    assert!(plan.signaling.and(&list("0,64,40-63,104-127")).is_empty());
    let told = plan.placements[0].reasons.join("; ");
    assert!(told.contains("isolated") && told.contains("node 1, the NIC's"), "{told}");
    // The other interface is on the other node; isolation still counts for more.
    let plan = scene.plan(2, Some("eno1")).unwrap();
    assert_eq!(plan.cpus(), [40, 41]);
    assert!(plan.placements[0].reasons.join("; ").contains("no better core is left on node 0"));
}

#[test]
fn without_isolation_the_node_decides_and_whole_cores_come_before_siblings() {
    let text: String = TWO_SOCKETS
        .lines()
        .filter(|line| !line.contains("system/cpu/isolated"))
        .map(|line| format!("{line}\n"))
        .collect();
    let scene = scene(&text, "plan-node");
    assert_eq!(scene.plan(3, Some("ens1f0")).unwrap().cpus(), [32, 33, 34]);
    assert_eq!(scene.plan(3, Some("eno1")).unwrap().cpus(), [1, 2, 3]);
    assert_eq!(scene.plan(3, None).unwrap().cpus(), [1, 2, 3]);
    let many = scene.plan(64, Some("ens1f0")).unwrap();
    // All whole cores of both nodes but the kernel's, then one sibling on the near node.
    assert_eq!(many.cpus()[..32], (32..64).collect::<Vec<_>>()[..]);
    assert_eq!(many.cpus()[32..63], (1..32).collect::<Vec<_>>()[..]);
    assert_eq!(many.cpus()[63], 96);
    assert!(many.placements[63].reasons.join("; ").contains("second thread"));
    assert!(many.workers().and(&list("0,64")).is_empty());
}

#[test]
fn too_many_workers_are_refused_with_the_number_that_fits() {
    let scene = scene(CLOUD, "plan-many");
    let plan = scene.plan(2, Some("eth0")).unwrap();
    assert_eq!((plan.cpus(), plan.kernel), (vec![2, 3], list("0-1")));
    let text = scene.plan(3, Some("eth0")).unwrap_err().to_string();
    assert!(text.contains("3 workers") && text.contains("at most 2"), "{text}");
    let text = scene.plan(1, Some("eth7")).unwrap_err().to_string();
    assert!(text.contains("eth7") && text.contains("eth0"), "{text}");
    let request = Request { workers: 1, cores: vec![9], interface: None };
    let text = Plan::make(&scene.topology, &request).unwrap_err().to_string();
    assert!(text.contains("names 9") && text.contains("0-3"), "{text}");
}

#[test]
fn quotas_single_queues_and_balancers_are_noted() {
    let scene = scene(CLOUD, "plan-notes");
    assert_eq!(scene.topology.confinement.quota, Some(1.5));
    let notes = scene.plan(2, Some("eth0")).unwrap().notes.join("\n");
    assert!(
        notes.contains("1.5 processors of time") && notes.contains("1 of 2 receive queues"),
        "{notes}"
    );
    let scene = self::scene(TWO_SOCKETS, "plan-notes-2");
    let notes = scene.plan(2, Some("ens1f0")).unwrap().notes.join("\n");
    assert!(notes.contains("IRQBALANCE_BANNED_CPULIST=40-41,104-105"), "{notes}");
    assert!(notes.contains("CPUAffinity=0-41,64-103"), "{notes}");
}

#[test]
fn small_cores_come_last_on_a_hybrid_processor() {
    let scene = scene(LAPTOP, "plan-hybrid");
    let plan = scene.plan(4, None).unwrap();
    assert_eq!(plan.cpus(), [2, 4, 6, 8]);
    assert!(plan.placements[3].reasons.join("; ").contains("a small core"));
    assert!(plan.notes.join("; ").contains("--interface"), "two interfaces, none named");
}

#[test]
fn a_cpuset_bounds_the_plan() {
    let text = format!(
        "{TWO_SOCKETS}/sys/fs/cgroup/user.slice/session-3.scope/cpuset.cpus.effective = 4-7\n"
    );
    let scene = scene(&text, "plan-cpuset");
    let plan = scene.plan(3, Some("ens1f0")).unwrap();
    assert_eq!((plan.cpus(), plan.kernel.clone()), (vec![5, 6, 7], list("4")));
    assert!(scene.plan(4, Some("ens1f0")).is_err());
}

#[test]
fn the_only_processor_is_shared() {
    let text = CLOUD.replace("online = 0-3", "online = 0");
    let scene = scene(&text, "plan-single");
    let plan = scene.plan(1, Some("eth0")).unwrap();
    assert_eq!((plan.cpus(), plan.signaling), (vec![0], list("0")));
    assert!(plan.notes.join("; ").contains("shares its processor"));
}

#[test]
fn a_plan_is_what_the_configuration_takes() {
    let scene = scene(TWO_SOCKETS, "plan-config");
    for workers in [1, 2, 24, 64] {
        let plan = scene.plan(workers, Some("ens1f0")).unwrap();
        let text = format!(
            "[sip]\nudp = [\"127.0.0.1:5060\"]\n{}address = \"127.0.0.1\"\n",
            plan.configuration()
        );
        let config = signaling::config::parse(&text, Path::new("/")).unwrap();
        assert_eq!(usize::from(config.media.workers), workers);
        assert_eq!(config.media.cores, plan.cpus());
        // And what the data plane then does with it.
        let allowed: Vec<usize> = scene.topology.online().iter().collect();
        let told = crate::command::dataplane::plan(&config);
        let placed = dataplane::Topology::plan(&told, &allowed).unwrap();
        let cores: Vec<usize> = placed.serving().filter_map(|place| place.core).collect();
        assert_eq!(cores, plan.cpus());
    }
}

#[test]
fn each_stage_finds_what_is_amiss_on_the_large_machine() {
    let scene = scene(TWO_SOCKETS, "check-large");
    let plan = scene.plan(4, Some("ens1f0")).unwrap();
    let reports = scene.check(&plan, &needs());
    let differing: Vec<&str> =
        reports.values().filter(|r| r.is_negative()).map(|r| r.stage).collect();
    let all = [
        "buffers",
        "coalescing",
        "governor",
        "huge_pages",
        "interrupts",
        "memlock",
        "nofile",
        "permanent",
        "ports",
        "queues",
        "rings",
        "steering",
    ];
    assert_eq!(differing, all);
    // Interrupts of queues to workers in turn, the disk's away from them; the control queue stays.
    let wanted: BTreeMap<&str, &str> = reports["interrupts"]
        .settings
        .iter()
        .map(|one| (one.place.as_str(), one.wanted.as_str()))
        .collect();
    assert_eq!(wanted["/proc/irq/121/smp_affinity_list"], "40");
    assert_eq!(wanted["/proc/irq/126/smp_affinity_list"], "41");
    assert_eq!(wanted["/proc/irq/200/smp_affinity_list"], "32-39,44-63,96-127");
    assert!(!wanted.contains_key("/proc/irq/120/smp_affinity_list"), "it disturbs no worker");
    assert_eq!(reports["queues"].settings[0].wanted, "4");
    let ring = &reports["rings"].settings[0];
    assert_eq!((ring.before.as_deref(), ring.wanted.as_str()), (Some("512"), "1024"));
    assert_eq!(reports["ports"].settings[0].wanted, "8125,30000-39999");
    for report in reports.values() {
        assert!(!report.explanation.is_empty() && !report.privilege.is_empty());
        assert_eq!(report.nothing.is_some(), report.settings.is_empty(), "{report:?}");
    }
    assert!(reports["cores"].nothing.as_deref().unwrap().contains("--config"));
}

#[test]
fn an_interrupt_that_the_kernel_keeps_is_not_asked_to_move() {
    let asked = |name: &str, mode: u32| {
        let mut scene = scene(CLOUD, name);
        let queue = scene.laid.path().join("proc/irq/27/smp_affinity_list");
        fs::set_permissions(queue, fs::Permissions::from_mode(mode)).unwrap();
        scene.topology = Topology::read(&scene.host).unwrap();
        let plan = scene.plan(2, Some("eth0")).unwrap();
        let reports = scene.check(&plan, &needs());
        reports["interrupts"].settings.iter().any(|one| one.place.contains("/irq/27/"))
    };
    assert!(!asked("irq-kept", 0o444));
    assert!(asked("irq-free", 0o644), "positive control");
}

#[test]
fn one_queue_for_two_workers_is_spread_in_software() {
    let scene = scene(CLOUD, "check-cloud");
    let plan = scene.plan(2, Some("eth0")).unwrap();
    let reports = scene.check(&plan, &needs());
    assert_eq!(reports["steering"].settings[0].wanted, "0000000c");
    assert_eq!(states(&reports["queues"]), [State::Holds]);
    assert_eq!(states(&reports["rings"]), [State::Holds], "it has no more");
    for absent in ["governor", "huge_pages", "conntrack", "memlock"] {
        assert!(reports[absent].nothing.is_some(), "{absent}");
    }
    let one = scene.plan(1, Some("eth0")).unwrap();
    assert_eq!(states(&scene.check(&one, &needs())["steering"]), [State::Holds]);
}

#[test]
fn a_host_that_is_right_is_left_alone() {
    let scene = scene(LAPTOP, "check-laptop");
    let plan = scene.plan(1, Some("wlp1s0")).unwrap();
    let reports = scene.check(&plan, &needs());
    for held in ["huge_pages", "buffers", "nofile"] {
        assert!(!reports[held].is_negative(), "{held}");
    }
    assert!(reports["ports"].nothing.as_deref().unwrap().contains("40000-60999"));
    assert!(reports["governor"].is_negative(), "positive control");
}

/// What needs a program cannot be changed on a recorded host.
const BY_FILE: [&str; 10] = [
    "interrupts",
    "steering",
    "coalescing",
    "governor",
    "huge_pages",
    "buffers",
    "ports",
    "memlock",
    "nofile",
    "permanent",
];

#[test]
fn what_was_applied_holds_and_what_was_undone_is_as_before() {
    for (name, text, interface) in
        [("two", TWO_SOCKETS, "ens1f0"), ("cloud", CLOUD, "eth0"), ("laptop", LAPTOP, "wlp1s0")]
    {
        let scene = scene(text, &format!("apply-{name}"));
        let before = files(scene.laid.path());
        let plan = scene.plan(2, Some(interface)).unwrap();
        let needs = needs();
        let context =
            Context { host: &scene.host, topology: &scene.topology, plan: &plan, needs: &needs };
        let mut journal = Journal::open(&scene.host, JOURNAL).unwrap();
        let stages = || ALL.iter().filter(|stage| BY_FILE.contains(&stage.name));
        for stage in stages() {
            let report = apply(&context, stage, &mut journal);
            assert!(!report.is_negative(), "{name}: {report:?}");
        }
        for stage in stages() {
            let report = check(&context, stage);
            assert!(states(&report).iter().all(|state| *state == State::Holds), "{report:?}");
        }
        assert_ne!(files(scene.laid.path()), before, "positive control");
        // Again: nothing to change, and the first state stays the one to restore.
        for stage in stages() {
            assert!(!states(&apply(&context, stage, &mut journal)).contains(&State::Changed));
        }
        let mut journal = Journal::open(&scene.host, JOURNAL).unwrap();
        let dry = undo(&scene.host, &mut journal, &[], false, true);
        assert!(dry.iter().any(|one| one.state == State::Differs));
        let outcomes = undo(&scene.host, &mut journal, &[], false, false);
        assert!(outcomes.iter().all(|one| one.state == State::Restored), "{outcomes:?}");
        assert_eq!(files(scene.laid.path()), before, "{name}");
        assert!(journal.entries.is_empty());
    }
}

#[test]
fn what_somebody_else_changed_since_is_left_unless_forced() {
    let scene = scene(LAPTOP, "undo-foreign");
    let plan = scene.plan(1, Some("wlp1s0")).unwrap();
    let needs = needs();
    let context =
        Context { host: &scene.host, topology: &scene.topology, plan: &plan, needs: &needs };
    let mut journal = Journal::open(&scene.host, JOURNAL).unwrap();
    let governor = ALL.iter().find(|stage| stage.name == "governor").unwrap();
    apply(&context, governor, &mut journal);
    let path = "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor";
    scene.host.write(path, "ondemand").unwrap();
    let outcomes = undo(&scene.host, &mut journal, &[], false, false);
    assert_eq!(outcomes[0].state, State::Foreign);
    assert_eq!(scene.host.read(path).as_deref(), Some("ondemand"));
    let outcomes = undo(&scene.host, &mut journal, &["governor".to_owned()], true, false);
    assert_eq!(outcomes[0].state, State::Restored);
    assert_eq!(scene.host.read(path).as_deref(), Some("powersave"));
}

#[test]
fn a_boot_undoes_what_the_kernel_forgets_and_no_document() {
    let scene = scene(TWO_SOCKETS, "journal-boot");
    let plan = scene.plan(1, Some("ens1f0")).unwrap();
    let needs = needs();
    let context =
        Context { host: &scene.host, topology: &scene.topology, plan: &plan, needs: &needs };
    let mut journal = Journal::open(&scene.host, JOURNAL).unwrap();
    for stage in ALL.iter().filter(|stage| ["governor", "memlock"].contains(&stage.name)) {
        apply(&context, stage, &mut journal);
    }
    assert_eq!(Journal::open(&scene.host, JOURNAL).unwrap().entries.len(), 2);
    scene.host.write("/proc/sys/kernel/random/boot_id", "another").unwrap();
    let left = Journal::open(&scene.host, JOURNAL).unwrap().entries;
    assert_eq!(left.iter().map(|entry| entry.stage.as_str()).collect::<Vec<_>>(), ["memlock"]);
}

#[test]
fn a_setting_that_cannot_be_recorded_is_not_changed() {
    let scene = scene(LAPTOP, "journal-full");
    let plan = scene.plan(1, Some("wlp1s0")).unwrap();
    let needs = needs();
    let context =
        Context { host: &scene.host, topology: &scene.topology, plan: &plan, needs: &needs };
    // A directory of that name is in the way.
    fs::create_dir_all(scene.laid.path().join("var/lib/trunkline-pin/journal.json/x")).unwrap();
    let mut journal = Journal::open(&scene.host, JOURNAL).unwrap();
    let before = files(scene.laid.path());
    let governor = ALL.iter().find(|stage| stage.name == "governor").unwrap();
    let report = apply(&context, governor, &mut journal);
    assert_eq!(states(&report), [State::Failed]);
    assert!(report.settings[0].why.contains("cannot be recorded"), "{report:?}");
    let path = "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor";
    assert_eq!(scene.host.read(path).as_deref(), Some("powersave"));
    assert!(before.iter().all(|(file, text)| files(scene.laid.path()).get(file) == Some(text)));
}

#[test]
fn damaged_trees_are_read_or_refused_and_never_panic() {
    const SPOILS: [&str; 7] =
        ["", "?", "-1", "99999999999999999999", "0-4294967295", "\u{fffd}", ": = ,"];
    // The large machine has thousands of files: damaged once.
    for (text, times) in [(TWO_SOCKETS, 1), (CLOUD, SPOILS.len()), (LAPTOP, SPOILS.len())] {
        for (at, spoil) in SPOILS.into_iter().enumerate().take(times) {
            // Every third file is damaged, another third each time; lines of programs too.
            let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
            let damaged: String = lines
                .enumerate()
                .map(|(line, whole)| match whole.split_once("= ") {
                    Some((head, _)) if (line + at) % 3 == 0 && !whole.contains("+=") => {
                        format!("{head}= {spoil}\n")
                    }
                    _ => format!("{whole}\n"),
                })
                .collect();
            let laid = Laid::out(&damaged, &format!("damaged-{at}"));
            let host = Host::recorded(laid.path());
            let Ok(topology) = Topology::read(&host) else { continue };
            let request = Request { workers: 2, cores: Vec::new(), interface: None };
            let _drawn = draw_host(&topology, None);
            if let Ok(plan) = Plan::make(&topology, &request) {
                let needs = needs();
                let context =
                    Context { host: &host, topology: &topology, plan: &plan, needs: &needs };
                let _drawn = draw_host(&topology, Some(&plan));
                for stage in ALL {
                    let _report = check(&context, stage);
                }
            }
        }
    }
    let empty = Laid::out("/x = y", "damaged-empty");
    let text = Topology::read(&Host::recorded(empty.path())).unwrap_err();
    assert!(text.contains("--root"), "{text}");
}
