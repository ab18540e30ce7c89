//! When a route is open: wall-clock time in a time zone.
//!
//! ```text
//!   Europe/Berlin; Mon-Fri 08:00-12:00,13:00-17:30; Sat 09:00-13:00; !12-24..12-26
//!   zone         ; rule                           ; rule           ; exception
//! ```
//! A rule names dates, weekdays and hours, in any order; what it does not name is any. The route is
//! open when a rule fits (or there is none) and no exception does. Hours that end before they
//! begin go on after midnight and belong to the day on which they begin.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;

/// When a route is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    text: String,
    zone: TimeZone,
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    is_exception: bool,
    /// Empty is any date.
    dates: Vec<Dates>,
    /// By days since Monday; `None` is any day.
    weekdays: Option<[bool; 7]>,
    /// Empty is any time.
    hours: Vec<Hours>,
}

/// First and last day, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dates {
    Once(Date, Date),
    /// Month and day of any year; a first one after the last goes over the turn of the year.
    Yearly((i8, i8), (i8, i8)),
}

/// Minutes since midnight: the first one, and the first one after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hours {
    begin: u16,
    end: u16,
}

impl Schedule {
    /// Reads a schedule; the error says what is wrong and how it is written.
    ///
    /// # Errors
    /// A text for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > SCHEDULE_BYTES_MAX {
            return Err(format!("the schedule is longer than {SCHEDULE_BYTES_MAX} bytes"));
        }
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let zone = TimeZone::get(name).map_err(|_| {
            format!("\"{name}\" is no time zone; begin with one, as in Europe/Berlin")
        })?;
        let written = parts.filter(|part| !part.is_empty());
        let rules: Vec<Rule> = written.map(rule).collect::<Result<_, _>>()?;
        if rules.is_empty() {
            return Err(String::from(
                "the schedule has no rule; add one, as in Mon-Fri 08:00-18:00",
            ));
        }
        Ok(Self { text: text.trim().to_owned(), zone, rules })
    }

    /// Whether the route is open at an instant.
    pub fn is_open(&self, at: Timestamp) -> bool {
        let now = self.local(at);
        let fits = |rule: &&Rule| rule.fits(now);
        let mut rules = self.rules.iter().filter(|rule| !rule.is_exception).peekable();
        let open = rules.peek().is_none() || rules.any(|rule| fits(&rule));
        open && !self.rules.iter().filter(|rule| rule.is_exception).any(|rule| fits(&rule))
    }

    /// The instant as people in the schedule's zone read it.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }
}

/// As it was written.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Rule {
    fn fits(&self, now: DateTime) -> bool {
        if self.hours.is_empty() {
            return self.covers(now.date());
        }
        let minute = minute(now.time());
        self.hours.iter().any(|hours| {
            let today = hours.holds_on_first_day(minute) && self.covers(now.date());
            let since_yesterday = || {
                hours.holds_after_midnight(minute)
                    && now.date().yesterday().is_ok_and(|day| self.covers(day))
            };
            today || since_yesterday()
        })
    }

    fn covers(&self, day: Date) -> bool {
        let index = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or_default();
        let weekday = self.weekdays.is_none_or(|days| days.get(index) == Some(&true));
        weekday && (self.dates.is_empty() || self.dates.iter().any(|dates| dates.hold(day)))
    }
}

impl Hours {
    fn holds_on_first_day(self, minute: u16) -> bool {
        minute >= self.begin && (minute < self.end || self.end < self.begin)
    }

    fn holds_after_midnight(self, minute: u16) -> bool {
        self.end < self.begin && minute < self.end
    }
}

impl Dates {
    fn hold(self, day: Date) -> bool {
        match self {
            Self::Once(first, last) => (first..=last).contains(&day),
            Self::Yearly(first, last) => {
                let day = (day.month(), day.day());
                match first <= last {
                    true => (first..=last).contains(&day),
                    false => day >= first || day <= last,
                }
            }
        }
    }
}

fn minute(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

fn rule(text: &str) -> Result<Rule, String> {
    let (is_exception, text) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut rule = Rule { is_exception, dates: Vec::new(), weekdays: None, hours: Vec::new() };
    for item in text.split([' ', ',', '\t']).filter(|item| !item.is_empty()) {
        if item.contains(':') {
            rule.hours.push(hours(item)?);
        } else if item.starts_with(|c: char| c.is_ascii_digit()) {
            rule.dates.push(dates(item)?);
        } else {
            let days = rule.weekdays.get_or_insert_default();
            weekdays(item, days)?;
        }
    }
    let is_empty = rule.dates.is_empty() && rule.weekdays.is_none() && rule.hours.is_empty();
    match is_empty {
        true => Err(String::from("a rule is empty; write days, dates or hours after the !")),
        false => Ok(rule),
    }
}

fn hours(text: &str) -> Result<Hours, String> {
    let wrong = || format!("\"{text}\" are no hours; write 08:00-18:00, the end up to 24:00");
    let (begin, end) = text.split_once('-').ok_or_else(wrong)?;
    let time = |text: &str| -> Option<u16> {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let (hour, minute): (u16, u16) = match digits(hour) && digits(minute) {
            true => (hour.parse().ok()?, minute.parse().ok()?),
            false => return None,
        };
        let total = hour * 60 + minute;
        (minute < 60 && total <= DAY_MINUTES).then_some(total)
    };
    let hours = Hours {
        begin: time(begin).filter(|t| *t < DAY_MINUTES).ok_or_else(wrong)?,
        end: time(end).ok_or_else(wrong)?,
    };
    if hours.begin == hours.end {
        return Err(format!("\"{text}\" has no length; the whole day is 00:00-24:00"));
    }
    Ok(hours)
}

fn dates(text: &str) -> Result<Dates, String> {
    let wrong = || {
        format!(
            "\"{text}\" is no date; write 2026-12-24, 12-25 for each year, or a range \
             12-24..12-26"
        )
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    if let (Some(first), Some(last)) = (yearly(first), yearly(last)) {
        return Ok(Dates::Yearly(first, last));
    }
    let once = |text: &str| text.parse::<Date>().ok().filter(|_| text.len() == 10);
    match (once(first), once(last)) {
        (Some(first), Some(last)) if first <= last => Ok(Dates::Once(first, last)),
        _ => Err(wrong()),
    }
}

/// `MM-DD` of a leap year, so that 02-29 is a date.
fn yearly(text: &str) -> Option<(i8, i8)> {
    if text.len() != 5 {
        return None;
    }
    let date: Date = format!("2024-{text}").parse().ok()?;
    Some((date.month(), date.day()))
}

fn weekdays(text: &str, days: &mut [bool; 7]) -> Result<(), String> {
    let wrong = || format!("\"{text}\" is no weekday; write Mon, Tue, Wed, Thu, Fri, Sat, Sun");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (weekday(first).ok_or_else(wrong)?, weekday(last).ok_or_else(wrong)?);
    // A range may go over the weekend: Fri-Mon.
    let mut day = first;
    loop {
        if let Some(flag) =
            usize::try_from(day.to_monday_zero_offset()).ok().and_then(|index| days.get_mut(index))
        {
            *flag = true;
        }
        if day == last {
            return Ok(());
        }
        day = day.next();
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let index = names.iter().position(|name| name.eq_ignore_ascii_case(text))?;
    Weekday::from_monday_zero_offset(i8::try_from(index).ok()?).ok()
}

const DAY_MINUTES: u16 = 24 * 60;
/// Longest schedule: some forty rules.
pub const SCHEDULE_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a schedule is open at a wall-clock time of its own zone.
    fn open(text: &str, local: &str) -> bool {
        let schedule = Schedule::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let civil: DateTime = local.parse().unwrap();
        let at = schedule.zone.to_timestamp(civil).unwrap();
        schedule.is_open(at)
    }

    #[test]
    fn days_hours_and_dates() {
        // 2026-11-27 is a Friday.
        const OFFICE: &str = "Europe/Berlin; Mon-Fri 08:00-12:00,13:00-17:30; Sat 09:00-13:00; \
                              !12-24..12-26; !2027-01-01";
        for (schedule, local, want) in [
            (OFFICE, "2026-11-27T07:59:59", false),
            (OFFICE, "2026-11-27T08:00:00", true),
            (OFFICE, "2026-11-27T11:59:59", true),
            (OFFICE, "2026-11-27T12:00:00", false),
            (OFFICE, "2026-11-27T13:00:00", true),
            (OFFICE, "2026-11-27T17:30:00", false),
            (OFFICE, "2026-11-28T08:30:00", false),
            (OFFICE, "2026-11-28T09:00:00", true),
            (OFFICE, "2026-11-29T10:00:00", false),
            (OFFICE, "2026-12-24T10:00:00", false),
            (OFFICE, "2027-12-24T10:00:00", false),
            (OFFICE, "2027-01-01T10:00:00", false),
            (OFFICE, "2029-01-01T10:00:00", true),
            ("UTC; 22:00-06:00", "2026-11-27T23:00:00", true),
            ("UTC; 22:00-06:00", "2026-11-27T05:59:00", true),
            ("UTC; 22:00-06:00", "2026-11-27T06:00:00", false),
            // The night from Friday to Saturday belongs to Friday.
            ("UTC; Fri 22:00-06:00", "2026-11-28T05:00:00", true),
            ("UTC; Fri 22:00-06:00", "2026-11-27T05:00:00", false),
            ("UTC; Fri 22:00-06:00", "2026-11-28T23:00:00", false),
            ("UTC; 00:00-24:00", "2026-11-27T23:59:59", true),
            ("UTC; 18:00-24:00", "2026-11-28T00:00:00", false),
            ("UTC; 18:00-00:00", "2026-11-27T23:59:00", true),
            ("UTC; Fri-Mon", "2026-11-29T00:00:00", true),
            ("UTC; Fri-Mon", "2026-12-01T00:00:00", false),
            ("UTC; fri,SUN", "2026-11-28T00:00:00", false),
            ("UTC; 2026-11-27", "2026-11-27T00:00:00", true),
            ("UTC; 2026-11-27", "2026-11-28T00:00:00", false),
            ("UTC; 2026-11-20..2026-11-30 Fri 10:00-11:00", "2026-11-27T10:30:00", true),
            ("UTC; 2026-11-20..2026-11-30 Fri 10:00-11:00", "2026-12-04T10:30:00", false),
            ("UTC; 12-30..01-02", "2027-01-02T23:00:00", true),
            ("UTC; 12-30..01-02", "2027-01-03T00:00:00", false),
            ("UTC; 02-29", "2028-02-29T00:00:00", true),
            ("UTC; 02-29", "2027-03-01T00:00:00", false),
            ("UTC; !Sun", "2026-11-28T12:00:00", true),
            ("UTC; !Sun", "2026-11-29T12:00:00", false),
        ] {
            assert_eq!(open(schedule, local), want, "{schedule} {local}");
        }
    }

    #[test]
    fn the_zone_and_its_summer_time_count() {
        let berlin = Schedule::parse("Europe/Berlin; 08:00-09:00").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(berlin.is_open(at("2026-01-15T07:30:00Z")), "winter: one hour ahead");
        assert!(!berlin.is_open(at("2026-07-15T07:30:00Z")));
        assert!(berlin.is_open(at("2026-07-15T06:30:00Z")), "summer: two hours ahead");
        // 02:30 comes twice on the last Sunday of October, and never on that of March.
        let night = Schedule::parse("Europe/Berlin; 02:30-02:31").unwrap();
        assert!(night.is_open(at("2026-10-25T00:30:00Z")));
        assert!(night.is_open(at("2026-10-25T01:30:00Z")));
        let march: Vec<bool> =
            (0..=3).map(|h| night.is_open(at(&format!("2026-03-29T0{h}:30:00Z")))).collect();
        assert_eq!(march, [false, false, false, false]);
        let tokyo = Schedule::parse("Asia/Tokyo; Sat").unwrap();
        assert!(tokyo.is_open(at("2026-11-27T15:00:00Z")), "it is Saturday there");
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (text, said) in [
            ("", "no time zone"),
            ("Mon-Fri 08:00-18:00", "no time zone"),
            ("Europe/Atlantis; Mon", "no time zone"),
            ("UTC", "no rule"),
            ("UTC;;", "no rule"),
            ("UTC; !", "empty"),
            ("UTC; Mo", "no weekday"),
            ("UTC; Mon-Frz", "no weekday"),
            ("UTC; 8:00-18:00", "no hours"),
            ("UTC; 08:00", "no hours"),
            ("UTC; 08:60-09:00", "no hours"),
            ("UTC; 08:00-24:01", "no hours"),
            ("UTC; 24:00-08:00", "no hours"),
            ("UTC; +8:00-09:00", "no hours"),
            ("UTC; 08:00-08:00", "no length"),
            ("UTC; 2026-02-29", "no date"),
            ("UTC; 02-30", "no date"),
            ("UTC; 2026-12-31..2026-01-01", "no date"),
            ("UTC; 12-24..2026-12-26", "no date"),
            ("UTC; 2026", "no date"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let long = format!("UTC; {}", "Mon,".repeat(SCHEDULE_BYTES_MAX / 4));
        assert!(Schedule::parse(&long).unwrap_err().contains("longer"));
    }

    #[test]
    fn a_schedule_is_shown_as_it_was_written() {
        let text = "Europe/Berlin; Mon-Fri 08:00-18:00; !12-25";
        assert_eq!(Schedule::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn any_text_is_read_or_refused() {
        const PARTS: [&str; 11] =
            ["", "UTC;", "!", "Mon", "-", "08:00", ",", "..", "12-24", ";", "é"];
        for n in 0..PARTS.len().pow(4) {
            let text: String =
                (0..4).map(|i| PARTS[n / PARTS.len().pow(i) % PARTS.len()]).collect();
            if let Ok(schedule) = Schedule::parse(&text) {
                let _either = schedule.is_open(Timestamp::UNIX_EPOCH);
            }
        }
    }
}
