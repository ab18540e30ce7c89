//! A view on the screen.
//!
//! ```text
//! trunkline top   3 calls   q quit, p pause                       what is wrong, if anything is
//! workers (by regime)
//! dropped, by reason         | trunks
//! worst calls
//! ```
//! What does not fit is cut at the bottom: each list has the most important row first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Row, Table};

use super::text::{CALLS, TRUNKS, WORKERS, call_cells, trunk_cells, worker_cells};
use super::view::{CallView, View, WorkerView};

/// Draws all of it. `note` is what the operator should know beside the figures.
pub fn draw(frame: &mut Frame<'_>, view: Option<&View>, note: &str) {
    let workers = view.map_or(0, |view| view.workers.len());
    let lists = view.map_or(0, |view| view.drops.len().max(view.trunks.len()));
    let [head, top, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rows(workers, frame.area().height / 2)),
        Constraint::Length(rows(lists.max(1), frame.area().height / 3)),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    frame.render_widget(headline(view, note), head);
    let Some(view) = view else { return };
    let lines = view.workers.iter().map(worker_row);
    frame.render_widget(table("workers", WORKERS, &WORKER_WIDTHS, lines), top);
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(middle);
    draw_lists(frame, view, left, right);
    let lines = view.worst.iter().map(call_row);
    frame.render_widget(table("calls", CALLS, &CALL_WIDTHS, lines), bottom);
}

fn draw_lists(frame: &mut Frame<'_>, view: &View, left: Rect, right: Rect) {
    let drops = view.drops.iter().map(|drop| {
        let rate = format!("{:.0}", drop.per_second);
        let row = Row::new([drop.reason.clone(), rate, drop.total.to_string()]);
        if drop.per_second > 0.0 { row.style(Style::new().fg(Color::Yellow)) } else { row }
    });
    let heading = ["dropped", "per s", "total"];
    frame.render_widget(table("drops by reason", heading, &DROP_WIDTHS, drops), left);
    let trunks = view.trunks.iter().map(|trunk| {
        let row = Row::new(trunk_cells(trunk));
        match trunk.status.as_deref() {
            None | Some("OK" | "UNMONITORED" | "LAGGED") => row,
            Some(_) => row.style(Style::new().fg(Color::Red)),
        }
    });
    frame.render_widget(table("calls by trunk", TRUNKS, &TRUNK_WIDTHS, trunks), right);
}

fn headline<'a>(view: Option<&View>, note: &'a str) -> Line<'a> {
    let calls =
        view.map_or_else(|| String::from("looking"), |view| format!("{} calls", view.calls));
    Line::from(vec![
        Span::styled("trunkline top", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("   {calls}   q quit, p pause   ")),
        Span::styled(note, Style::new().fg(Color::Red)),
    ])
}

fn worker_row(worker: &WorkerView) -> Row<'static> {
    let row = Row::new(worker_cells(worker));
    let busy = worker.rates.map_or(0.0, |rates| rates.busy);
    match worker.state.as_str() {
        "running" if busy >= BUSY => row.style(Style::new().fg(Color::Red)),
        "running" => row,
        "draining" => row.style(Style::new().fg(Color::Yellow)),
        _ => row.style(Style::new().add_modifier(Modifier::DIM)),
    }
}

fn call_row(call: &CallView) -> Row<'static> {
    let row = Row::new(call_cells(call));
    let both = [call.from_caller.mos, call.from_callee.mos];
    let bad = both.into_iter().flatten().any(|mos| mos < BAD_MOS);
    if bad { row.style(Style::new().fg(Color::Red)) } else { row }
}

fn table<'a, const N: usize>(
    title: &'a str,
    heading: [&'a str; N],
    widths: &[u16; N],
    lines: impl Iterator<Item = Row<'a>>,
) -> Table<'a> {
    let heading = Row::new(heading.map(str::to_uppercase));
    Table::new(lines, widths.map(Constraint::Length))
        .header(heading.style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered().title(title))
}

/// Lines of a table of so many rows: its frame and heading too, within what there is room for.
fn rows(count: usize, most: u16) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX).saturating_add(3).min(most.max(4))
}

/// A line of 80 columns, with its frame.
const WORKER_WIDTHS: [u16; 13] = [2, 8, 4, 5, 6, 5, 5, 4, 4, 4, 6, 6, 6];
const DROP_WIDTHS: [u16; 3] = [16, 6, 9];
const TRUNK_WIDTHS: [u16; 5] = [14, 12, 4, 4, 4];
const CALL_WIDTHS: [u16; 8] = [12, 12, 11, 2, 10, 10, 5, 9];
/// A worker that has no more time than this left cannot take a burst.
const BUSY: f64 = 0.8;
/// Below it, users complain (ITU-T G.107 Annex B: "many users dissatisfied").
const BAD_MOS: f64 = 3.6;

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::view::tests::view;

    fn drawn(width: u16, height: u16, view: Option<&View>, note: &str) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, note)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn a_screen_of_80_columns_shows_everything_important() {
        let screen = drawn(80, 24, Some(&view()), "");
        for word in [
            "3 calls",
            "SLEEP",
            "GATH",
            "SPIN",
            "BUSY",
            "75%",
            "5.0%",
            "P99US",
            "standby",
            "off path",
            "provider",
            "0123456789ab",
            "2.10",
        ] {
            assert!(screen.contains(word), "{word} in\n{screen}");
        }
    }

    #[test]
    fn any_size_of_screen_is_drawn() {
        let view = view();
        for (width, height) in [(1, 1), (1, 50), (200, 1), (20, 5), (80, 3), (300, 100)] {
            drawn(width, height, Some(&view), "the gateway does not answer");
            drawn(width, height, None, "");
        }
    }

    #[test]
    fn what_is_wrong_is_in_the_first_line() {
        let screen = drawn(120, 10, Some(&view()), "no answer from the gateway");
        assert!(screen.lines().next().unwrap().contains("no answer from the gateway"), "{screen}");
    }
}
