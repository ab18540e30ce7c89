//! The full screen: one thread looks at the gateway, this one draws and listens to the keyboard, so
//! that a gateway that does not answer never keeps the keyboard waiting.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Sample, View, screen};
use crate::client::Client;
use crate::failure::Failure;

/// Shows the gateway until the operator has seen enough.
///
/// # Errors
/// The terminal's.
pub fn watch(client: Client, first: Sample, interval: Duration) -> Result<(), Failure> {
    let (looks, news) = channel();
    let (over, is_over) = channel();
    Builder::new()
        .name("looks".to_owned())
        .spawn(move || look(&client, first, interval, &looks, &is_over))
        .map_err(Failure::host)?;
    let mut terminal = ratatui::try_init().map_err(Failure::host)?;
    let shown = show(&mut terminal, &news);
    let restored = ratatui::try_restore();
    let _looks_no_more = over.send(());
    shown.and(restored).map_err(Failure::host)
}

/// What a look brought.
type Look = Result<View, Failure>;

/// Looks at every interval, and says what changed, or why nothing is known.
fn look(
    client: &Client,
    mut before: Sample,
    interval: Duration,
    looks: &Sender<Look>,
    is_over: &Receiver<()>,
) {
    while is_over.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let look = Sample::take(client).map(|now| {
            let view = View::between(&before, &now);
            before = now;
            view
        });
        if looks.send(look).is_err() {
            return;
        }
    }
}

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    Quit,
    Pause,
    Nothing,
}

fn show(terminal: &mut DefaultTerminal, news: &Receiver<Look>) -> std::io::Result<()> {
    let mut view: Option<View> = None;
    let mut fault = String::new();
    let mut paused = false;
    loop {
        let note = if paused { "paused" } else { fault.as_str() };
        terminal.draw(|frame| screen::draw(frame, view.as_ref(), note))?;
        if event::poll(KEYS)? {
            match event::read()? {
                Event::Key(key) => match wish(key) {
                    Wish::Quit => return Ok(()),
                    Wish::Pause => paused = !paused,
                    Wish::Nothing => {}
                },
                _ => continue,
            }
        }
        for look in news.try_iter().filter(|_| !paused) {
            match look {
                Ok(now) => (view, fault) = (Some(now), String::new()),
                Err(failure) => fault = failure.text,
            }
        }
    }
}

fn wish(key: KeyEvent) -> Wish {
    if key.kind == KeyEventKind::Release {
        return Wish::Nothing;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('p') => Wish::Pause,
        _ => Wish::Nothing,
    }
}

/// How long the keyboard is listened to before what is new is drawn.
const KEYS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_first_line_says() {
        let key = |code, modifiers| wish(KeyEvent::new(code, modifiers));
        let plain = KeyModifiers::NONE;
        assert_eq!(key(KeyCode::Char('q'), plain), Wish::Quit);
        assert_eq!(key(KeyCode::Esc, plain), Wish::Quit);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::Quit);
        assert_eq!(key(KeyCode::Char('c'), plain), Wish::Nothing);
        assert_eq!(key(KeyCode::Char('p'), plain), Wish::Pause);
        assert_eq!(key(KeyCode::Char('x'), plain), Wish::Nothing);
    }
}
