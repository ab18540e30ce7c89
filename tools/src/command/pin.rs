//! `trunkline pin`: media workers on their cores, and the host's settings around them.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::failure::{Failure, NEGATIVE};
use crate::pin::{self, Context, Host, JOURNAL, Journal, Stage, Topology};
use wishes::Wishes;

mod print;
mod wishes;

/// Put media workers on cores: see the host, plan, check, apply and undo
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trunkline pin show                                  the host: cores, caches, interfaces, limits
  trunkline pin plan --workers 4 --interface ens1f0   who would run where, and why
  trunkline pin check --config gateway.toml           which settings of the host are in the way
  trunkline pin apply --config gateway.toml --dry-run what would be changed; without it, change it
  trunkline pin apply --only ports,conntrack          some settings alone
  trunkline pin apply --permanent                     and over the next boot, by drop-ins of systemd
  trunkline pin undo                                  everything as it was")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Draw the host: sockets, nodes, cores, caches, interfaces, what the service may use
    Show(Scene),
    /// Propose a core for each worker, with reasons; changes nothing
    Plan(Scene),
    /// Compare the host's settings with what the workers need (exit code 1 when one differs)
    Check {
        #[command(flatten)]
        scene: Scene,
        #[command(flatten)]
        choice: Choice,
        /// Also look whether the units carry it over the next boot
        #[arg(long)]
        permanent: bool,
    },
    /// Change the host's settings, and record what they were
    Apply {
        #[command(flatten)]
        scene: Scene,
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        record: Record,
        /// Also write drop-ins of systemd, so that the next boot brings it back
        #[arg(long)]
        permanent: bool,
    },
    /// Restore what apply changed
    Undo {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        record: Record,
        /// Restore also what somebody else has changed since
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// What is planned for.
#[derive(clap::Args)]
struct Scene {
    /// Workers to place (else as many as the configuration says)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Option<u16>,
    /// The interface that media comes by (else the one with the configuration's media address)
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Configuration file (TOML); /etc/trunkline/trunkline.toml where it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Output {
    /// Look at a recorded host: a directory with its /sys and /proc
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Choice {
    /// These settings alone, with commas; `pin check` lists them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(clap::Args)]
struct Record {
    /// Change nothing, tell what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Where changes are recorded
    #[arg(long, value_name = "FILE", default_value = JOURNAL)]
    journal: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    match &arguments.verb {
        Verb::Show(scene) => show(scene),
        Verb::Plan(scene) => plan(scene),
        Verb::Check { scene, choice, permanent } => check(scene, choice, *permanent, false),
        Verb::Apply { scene, choice, record, permanent } if record.dry_run => {
            check(scene, choice, *permanent, true)
        }
        Verb::Apply { scene, choice, record, permanent } => {
            apply(scene, choice, record, *permanent)
        }
        Verb::Undo { choice, record, force, output } => undo(choice, record, *force, output),
    }
}

fn show(scene: &Scene) -> Result<ExitCode, Failure> {
    let host = scene.output.host();
    let topology = Topology::read(&host).map_err(Failure::host)?;
    if scene.output.json {
        println!("{}", json!(topology));
    } else {
        print!("{}", pin::draw_host(&topology, None));
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(scene: &Scene) -> Result<ExitCode, Failure> {
    let host = scene.output.host();
    let wishes = Wishes::read(scene)?;
    let topology = Topology::read(&host).map_err(Failure::host)?;
    let plan = wishes.plan(&topology, true)?;
    if scene.output.json {
        println!("{}", json!({ "plan": plan, "configuration": plan.configuration() }));
    } else {
        print!("{}\n{}", pin::draw_host(&topology, Some(&plan)), pin::draw_plan(&plan));
    }
    Ok(ExitCode::SUCCESS)
}

fn check(scene: &Scene, choice: &Choice, permanent: bool, dry: bool) -> Result<ExitCode, Failure> {
    let (host, stages) = (scene.output.host(), choice.stages()?);
    let wishes = Wishes::read(scene)?;
    let topology = Topology::read(&host).map_err(Failure::host)?;
    let plan = wishes.plan(&topology, false)?;
    let needs = wishes.needs(&plan, permanent);
    let context = Context { host: &host, topology: &topology, plan: &plan, needs: &needs };
    let reports: Vec<_> = stages.iter().map(|stage| pin::check(&context, stage)).collect();
    let lacking = wishes.lacking(&plan);
    print::reports(&reports, lacking.as_deref(), scene.output.json);
    let negative = !dry && (lacking.is_some() || reports.iter().any(pin::Report::is_negative));
    Ok(if negative { ExitCode::from(NEGATIVE) } else { ExitCode::SUCCESS })
}

fn apply(
    scene: &Scene,
    choice: &Choice,
    record: &Record,
    permanent: bool,
) -> Result<ExitCode, Failure> {
    let (host, stages) = (scene.output.host(), choice.stages()?);
    let wishes = Wishes::read(scene)?;
    let mut journal = record.open(&host)?;
    let topology = Topology::read(&host).map_err(Failure::host)?;
    let plan = wishes.plan(&topology, false)?;
    let needs = wishes.needs(&plan, permanent);
    let mut reports = Vec::new();
    for stage in stages {
        // An earlier stage may have changed it: queues bring interrupts of their own.
        let topology = Topology::read(&host).map_err(Failure::host)?;
        let context = Context { host: &host, topology: &topology, plan: &plan, needs: &needs };
        reports.push(pin::apply(&context, stage, &mut journal));
    }
    print::reports(&reports, wishes.lacking(&plan).as_deref(), scene.output.json);
    let negative = reports.iter().any(pin::Report::is_negative);
    Ok(if negative { ExitCode::from(NEGATIVE) } else { ExitCode::SUCCESS })
}

fn undo(
    choice: &Choice,
    record: &Record,
    force: bool,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let host = output.host();
    choice.stages()?;
    let mut journal = record.open(&host)?;
    let outcomes = pin::undo(&host, &mut journal, &choice.only, force, record.dry_run);
    let failed = |one: &pin::Outcome| matches!(one.state, pin::State::Failed | pin::State::Foreign);
    let negative = outcomes.iter().any(failed);
    print::undone(&outcomes, output.json);
    Ok(if negative { ExitCode::from(NEGATIVE) } else { ExitCode::SUCCESS })
}

impl Output {
    fn host(&self) -> Host {
        self.root.as_deref().map_or_else(Host::live, Host::recorded)
    }
}

impl Choice {
    fn stages(&self) -> Result<Vec<&'static Stage>, Failure> {
        let known = || pin::ALL.map(|stage| stage.name).join(", ");
        for name in &self.only {
            if !pin::ALL.iter().any(|stage| stage.name == name) {
                let text =
                    format!("--only {name}: there is no such setting; there are {}", known());
                return Err(Failure { code: crate::failure::REFUSED, text });
            }
        }
        let chosen = |stage: &&&Stage| {
            self.only.is_empty() || self.only.iter().any(|name| name == stage.name)
        };
        Ok(pin::ALL.iter().filter(chosen).copied().collect())
    }
}

impl Record {
    fn open(&self, host: &Host) -> Result<Journal, Failure> {
        // Below the recorded root, if there is one, else from here.
        let path = if host.is_live() {
            std::path::absolute(&self.journal).map_err(Failure::host)?
        } else {
            self.journal.clone()
        };
        Journal::open(host, &path.to_string_lossy()).map_err(Failure::host)
    }
}
