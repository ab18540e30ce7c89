//! What `pin` tells people and scripts.

use serde_json::json;

use crate::pin::{Outcome, Report, State};

/// One block for each stage.
pub fn reports(reports: &[Report], lacking: Option<&str>, as_json: bool) {
    if as_json {
        let negative = lacking.is_some() || reports.iter().any(Report::is_negative);
        println!("{}", json!({ "stages": reports, "configuration": lacking, "ok": !negative }));
        return;
    }
    for report in reports {
        println!("{:<8} {:<12} {}", verdict(report), report.stage, report.explanation);
        if let Some(why) = &report.nothing {
            println!("{:<22}{why}", "");
        }
        // What is as it should be needs no line of its own.
        for one in report.settings.iter().filter(|one| one.state != State::Holds) {
            println!("{:<22}{}", "", line(one));
        }
        if report.is_negative() {
            println!("{:<22}needs: {}", "", report.privilege);
        }
    }
    if let Some(text) = lacking {
        println!("\n{text}");
    }
    let count =
        |state| reports.iter().flat_map(|r| &r.settings).filter(|s| s.state == state).count();
    println!(
        "\n{} settings hold, {} differ, {} changed, {} failed",
        count(State::Holds),
        count(State::Differs),
        count(State::Changed),
        count(State::Failed)
    );
}

/// One line for each change that was undone, or not.
pub fn undone(outcomes: &[Outcome], as_json: bool) {
    if as_json {
        println!("{}", json!({ "undone": outcomes }));
        return;
    }
    for one in outcomes {
        println!("{:<9} {}", word(one.state), line(one));
    }
    let restored = outcomes.iter().filter(|one| one.state == State::Restored).count();
    println!("{restored} of {} changes restored", outcomes.len());
}

fn verdict(report: &Report) -> &'static str {
    let worst = [State::Failed, State::Differs, State::Changed, State::Holds];
    let has = |state: &State| report.settings.iter().any(|one| one.state == *state);
    worst.into_iter().find(has).map_or("-", word)
}

fn word(state: State) -> &'static str {
    match state {
        State::Holds => "ok",
        State::Differs => "differs",
        State::Changed => "changed",
        State::Restored => "restored",
        State::Absent => "absent",
        State::Failed => "failed",
        State::Foreign => "foreign",
    }
}

fn line(one: &Outcome) -> String {
    let now = one.before.as_deref().map_or("(not here)".to_owned(), shown);
    let change = format!("{}: {now} -> {}", one.place, shown(&one.wanted));
    if one.why.is_empty() { change } else { format!("{change}: {}", one.why) }
}

/// A value on one line; a document by its length.
fn shown(value: &str) -> String {
    match value.lines().count() {
        0 => "nothing".to_owned(),
        1 => value.trim().to_owned(),
        lines => format!("({lines} lines)"),
    }
}
