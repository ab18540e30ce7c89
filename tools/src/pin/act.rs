//! Checks, applies and undoes stages.

use rustix::io::Errno;
use serde::Serialize;

use super::host::Host;
use super::journal::{Entry, Journal};
use super::setting::{Place, Setting};
use super::stage::{Context, Scope, Stage};

/// What became of one stage.
#[derive(Debug, Serialize)]
pub struct Report {
    pub stage: &'static str,
    pub explanation: &'static str,
    pub privilege: &'static str,
    /// Why there is nothing to do, where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nothing: Option<String>,
    pub settings: Vec<Outcome>,
}

/// What became of one setting.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    pub wanted: String,
    pub state: State,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Holds,
    /// Not as it should be.
    Differs,
    /// Written and read again.
    Changed,
    /// Undone and read again.
    Restored,
    /// The host does not have it.
    Absent,
    /// Could not be written, or did not stay.
    Failed,
    /// Undoing left it as it is, for somebody else changed it since.
    Foreign,
}

impl Report {
    /// Whether something is not as it should be.
    pub fn is_negative(&self) -> bool {
        let bad = [State::Differs, State::Failed, State::Foreign];
        self.settings.iter().any(|one| bad.contains(&one.state))
    }
}

/// Compares what is with what should be.
pub fn check(context: &Context<'_>, stage: &Stage) -> Report {
    report(context, stage, |setting| {
        let now = setting.place.read(context.host);
        let state = match &now {
            None => State::Absent,
            Some(now) if setting.place.holds(now, &setting.wanted) => State::Holds,
            Some(_) => State::Differs,
        };
        outcome(setting, now, state, String::new())
    })
}

/// Makes it what it should be, and records what it was.
pub fn apply(context: &Context<'_>, stage: &Stage, journal: &mut Journal) -> Report {
    report(context, stage, |setting| {
        let host = context.host;
        let Some(now) = setting.place.read(host) else {
            return outcome(setting, None, State::Absent, String::new());
        };
        if setting.place.holds(&now, &setting.wanted) {
            return outcome(setting, Some(now), State::Holds, String::new());
        }
        let entry = Entry {
            stage: stage.name.to_owned(),
            place: setting.place.clone(),
            before: now.clone(),
            wrote: setting.wanted.clone(),
        };
        if let Err(error) = journal.begin(host, entry) {
            let why = format!("nothing changed, for the change cannot be recorded: {error}");
            return outcome(setting, Some(now), State::Failed, why);
        }
        match put(host, &setting.place, &setting.wanted) {
            Ok(()) => outcome(setting, Some(now), State::Changed, String::new()),
            Err(mut why) => {
                let same = setting.place.read(host).as_deref() == Some(now.as_str());
                if same && let Err(error) = journal.forget(host, &setting.place) {
                    why = format!("{why}; the journal keeps it: {error}");
                }
                outcome(setting, Some(now), State::Failed, why)
            }
        }
    })
}

/// Restores what was applied, the last change first. `force` also overwrites what somebody else
/// changed since; `dry` only tells.
pub fn undo(
    host: &Host,
    journal: &mut Journal,
    only: &[String],
    force: bool,
    dry: bool,
) -> Vec<Outcome> {
    let entries: Vec<Entry> = journal.entries.iter().rev().cloned().collect();
    let mine = entries.into_iter().filter(|entry| only.is_empty() || only.contains(&entry.stage));
    mine.map(|entry| restore(host, journal, &entry, force, dry)).collect()
}

fn restore(host: &Host, journal: &mut Journal, entry: &Entry, force: bool, dry: bool) -> Outcome {
    let Entry { place, before, wrote, .. } = entry;
    let setting = Setting { place: place.clone(), wanted: before.clone() };
    let now = place.read(host);
    let ours = now.as_deref().is_some_and(|now| place.holds(now, wrote) || now == before);
    let (state, why) = match &now {
        None => (State::Absent, "gone meanwhile".to_owned()),
        Some(_) if !ours && !force => {
            let why = format!("somebody changed it after us ({wrote}); --force restores it anyway");
            (State::Foreign, why)
        }
        Some(now) if now == before => (State::Restored, String::new()),
        Some(_) if dry => (State::Differs, String::new()),
        Some(_) => match put(host, place, before) {
            Ok(()) => (State::Restored, String::new()),
            Err(why) => (State::Failed, why),
        },
    };
    let mut result = outcome(&setting, now, state, why);
    if !dry
        && matches!(state, State::Absent | State::Restored)
        && let Err(error) = journal.forget(host, place)
    {
        result.state = State::Failed;
        result.why = format!("restored, but the journal keeps it: {error}");
    }
    result
}

/// Writes and reads again: some files take a value and keep another.
fn put(host: &Host, place: &Place, value: &str) -> Result<(), String> {
    place.write(host, value).map_err(|error| explain(&error))?;
    match place.read(host) {
        Some(now) if place.holds(&now, value) => Ok(()),
        Some(now) => Err(format!("the kernel keeps \"{now}\"")),
        None => Err("it cannot be read any more".to_owned()),
    }
}

fn explain(error: &std::io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) if !rustix::process::geteuid().is_root() => {
            format!("{error}; run this as root")
        }
        // Older kernels show files of such interrupts as if they could be written.
        Some(Errno::PERM | Errno::IO) => {
            "the kernel manages it itself and does not let it be changed".to_owned()
        }
        Some(Errno::ROFS) => format!("{error}; run this outside the container"),
        _ => error.to_string(),
    }
}

fn report(context: &Context<'_>, stage: &Stage, each: impl FnMut(&Setting) -> Outcome) -> Report {
    let (nothing, settings) = match (stage.scope)(context) {
        Scope::Nothing(why) => (Some(why), Vec::new()),
        Scope::Settings(settings) => (None, settings),
    };
    Report {
        stage: stage.name,
        explanation: stage.explanation,
        privilege: stage.privilege,
        nothing,
        settings: settings.iter().map(each).collect(),
    }
}

fn outcome(setting: &Setting, before: Option<String>, state: State, why: String) -> Outcome {
    let Setting { place, wanted } = setting;
    Outcome { place: place.to_string(), before, wanted: wanted.clone(), state, why }
}
