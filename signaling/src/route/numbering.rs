//! How a trunk writes telephone numbers, and how we turn its writing into ours and back.
//!
//! ```text
//!   from the trunk:  tech prefix off ─ strip_in ─ prepend_in ─ format_in ──► routes see it
//!   to the trunk:    route's number ─ format_out ─ strip_out ─ prepend_out ─ tech prefix on
//! ```
//! Between the two a number is E.164 with a `+` (`+4930123456`). What is no public number (an
//! extension, 112, 911, a name) has fewer digits than [`E164_DIGITS_MIN`] or other characters and
//! is never changed by a format: only `strip`, `prepend` and the tech prefix, which the operator
//! wrote for this trunk, touch it. Callers' numbers follow the formats alone.

use std::fmt;

use crate::trunk::number::{E164_DIGITS_MAX, E164_DIGITS_MIN};

/// A trunk's way of writing numbers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Numbering {
    /// Where national numbers are at home.
    pub country: Country,
    /// How the trunk writes numbers toward us.
    pub format_in: NumberFormat,
    /// How it wants them.
    pub format_out: NumberFormat,
    /// Digits that name us to the trunk, in front of every called number.
    pub tech_prefix: String,
    /// Called numbers from the trunk.
    pub edit_in: Edit,
    /// Called numbers to the trunk.
    pub edit_out: Edit,
}

/// How numbers are dialled in a country.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Country {
    /// Digits after the `+`: `49`. Empty when not known.
    pub code: String,
    /// In front of national numbers: `0`; `1` in North America; empty in some countries.
    pub trunk_prefix: String,
    /// In front of international numbers: `00`; `011` in North America.
    pub international_prefix: String,
}

impl Default for Country {
    fn default() -> Self {
        Self {
            code: String::new(),
            trunk_prefix: String::from("0"),
            international_prefix: String::from("00"),
        }
    }
}

/// A way of writing numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum NumberFormat {
    /// As they come.
    #[default]
    AsIs,
    /// `+4930123456`.
    E164Plus,
    /// `4930123456`.
    E164Bare,
    /// `030123456`, `0033123456789`.
    National,
}

impl NumberFormat {
    /// Names in configuration and API, in the order of the variants.
    pub const NAMES: [&'static str; 4] = ["as_is", "e164_plus", "e164_bare", "national"];
    /// All, in the order of the names.
    pub const ALL: [Self; 4] = [Self::AsIs, Self::E164Plus, Self::E164Bare, Self::National];
}

impl fmt::Display for NumberFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::ALL.into_iter().zip(Self::NAMES);
        names.filter(|(format, _)| format == self).try_for_each(|(_, name)| f.write_str(name))
    }
}

/// A number edited at its front.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Edit {
    /// Characters taken off. A number that is not longer stays whole.
    pub strip: usize,
    /// Put in front after that.
    pub prepend: String,
}

impl Edit {
    /// The number after strip and prepend.
    fn apply(&self, number: String) -> String {
        let end = number.char_indices().nth(self.strip).map(|(at, _)| at);
        match end.and_then(|at| number.get(at..)) {
            Some(rest) => format!("{}{rest}", self.prepend),
            None => number,
        }
    }
}

impl Numbering {
    /// A called number of the trunk, as routes see it.
    pub fn called_in(&self, number: &str) -> String {
        let bare = match self.tech_prefix.is_empty() {
            true => number,
            false => number.strip_prefix(self.tech_prefix.as_str()).unwrap_or(number),
        };
        self.number_in(&self.edit_in.apply(bare.to_owned()))
    }

    /// A caller's number of the trunk, as routes and the other trunk see it.
    pub fn caller_in(&self, number: &str) -> String {
        self.number_in(number)
    }

    /// A called number as the trunk is asked for it.
    pub fn called_out(&self, number: &str) -> String {
        format!("{}{}", self.tech_prefix, self.edit_out.apply(self.number_out(number)))
    }

    /// A caller's number as the trunk is told it.
    pub fn caller_out(&self, number: &str) -> String {
        self.number_out(number)
    }

    fn number_in(&self, number: &str) -> String {
        let canonical = match self.format_in {
            NumberFormat::AsIs | NumberFormat::E164Plus => None,
            NumberFormat::E164Bare => is_public(number).then(|| format!("+{number}")),
            NumberFormat::National => self.country.canonical(number),
        };
        canonical.unwrap_or_else(|| number.to_owned())
    }

    fn number_out(&self, number: &str) -> String {
        let Some(digits) = number.strip_prefix('+').filter(|digits| is_public(digits)) else {
            return number.to_owned();
        };
        match self.format_out {
            NumberFormat::AsIs | NumberFormat::E164Plus => number.to_owned(),
            NumberFormat::E164Bare => digits.to_owned(),
            NumberFormat::National => self.country.dialled(digits),
        }
    }
}

impl Country {
    /// E.164 of a number as it is dialled here; `None` when it is none.
    fn canonical(&self, number: &str) -> Option<String> {
        let whole = |rest: &str| is_public(rest).then(|| format!("+{rest}"));
        let prefix = self.international_prefix.as_str();
        if !prefix.is_empty()
            && let Some(rest) = number.strip_prefix(prefix)
        {
            return whole(rest);
        }
        if self.code.is_empty() {
            return None;
        }
        let national = number.strip_prefix(self.trunk_prefix.as_str());
        // Ten digits are a whole number in North America, with the 1 in front or without.
        let bare =
            (self.code == NORTH_AMERICA && number.len() == NORTH_AMERICA_DIGITS).then_some(number);
        whole(&format!("{}{}", self.code, bare.or(national)?)).filter(|_| is_public(number))
    }

    /// A number, given as the digits of E.164, as it is dialled here.
    fn dialled(&self, digits: &str) -> String {
        let national = digits.strip_prefix(self.code.as_str()).filter(|_| !self.code.is_empty());
        match national {
            Some(rest) => format!("{}{rest}", self.trunk_prefix),
            None => format!("{}{digits}", self.international_prefix),
        }
    }
}

/// Whether these are the digits of a number of the public network.
fn is_public(digits: &str) -> bool {
    (E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
}

const NORTH_AMERICA: &str = "1";
const NORTH_AMERICA_DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str, trunk: &str, international: &str) -> Country {
        Country {
            code: code.into(),
            trunk_prefix: trunk.into(),
            international_prefix: international.into(),
        }
    }

    fn numbering(format: NumberFormat, country: Country) -> Numbering {
        Numbering { country, format_in: format, format_out: format, ..Numbering::default() }
    }

    #[test]
    fn numbers_come_in_as_e164_with_a_plus() {
        use NumberFormat::{AsIs, E164Bare, E164Plus, National};
        let germany = || country("49", "0", "00");
        let america = || country("1", "1", "011");
        // No trunk prefix, as in Norway.
        let norway = || country("47", "", "00");
        for (format, country, written, want) in [
            (AsIs, germany(), "030123456", "030123456"),
            (E164Plus, germany(), "+4930123456", "+4930123456"),
            (E164Plus, germany(), "4930123456", "4930123456"),
            (E164Bare, germany(), "4930123456", "+4930123456"),
            (E164Bare, germany(), "+4930123456", "+4930123456"),
            (E164Bare, germany(), "112", "112"),
            (E164Bare, germany(), "alice", "alice"),
            (E164Bare, germany(), "1234567890123456", "1234567890123456"),
            (National, germany(), "030123456", "+4930123456"),
            (National, germany(), "0033123456789", "+33123456789"),
            (National, germany(), "+4930123456", "+4930123456"),
            (National, germany(), "112", "112"),
            (National, germany(), "110", "110"),
            (National, germany(), "0115", "0115"),
            (National, germany(), "12345678", "12345678"),
            (National, germany(), "00112", "00112"),
            (National, germany(), "anonymous", "anonymous"),
            (National, america(), "12125551234", "+12125551234"),
            (National, america(), "2125551234", "+12125551234"),
            (National, america(), "0114930123456", "+4930123456"),
            (National, america(), "5551234", "5551234"),
            (National, america(), "911", "911"),
            (National, norway(), "22334455", "+4722334455"),
            (National, norway(), "004930123456", "+4930123456"),
            (National, norway(), "113", "113"),
            (National, country("", "0", "00"), "030123456", "030123456"),
            (National, country("", "0", "00"), "004930123456", "+4930123456"),
        ] {
            let numbering = numbering(format, country);
            assert_eq!(numbering.called_in(written), want, "{format} {written}");
            assert_eq!(numbering.caller_in(written), want, "{format} {written}");
        }
    }

    #[test]
    fn numbers_go_out_as_the_trunk_writes_them() {
        use NumberFormat::{AsIs, E164Bare, E164Plus, National};
        let germany = || country("49", "0", "00");
        let america = || country("1", "1", "011");
        for (format, country, number, want) in [
            (AsIs, germany(), "+4930123456", "+4930123456"),
            (E164Plus, germany(), "+4930123456", "+4930123456"),
            (E164Plus, germany(), "200", "200"),
            (E164Bare, germany(), "+4930123456", "4930123456"),
            (E164Bare, germany(), "112", "112"),
            (E164Bare, germany(), "+112", "+112"),
            (National, germany(), "+4930123456", "030123456"),
            (National, germany(), "+33123456789", "0033123456789"),
            (National, germany(), "112", "112"),
            (National, germany(), "alice", "alice"),
            (National, america(), "+12125551234", "12125551234"),
            (National, america(), "+4930123456", "0114930123456"),
            (National, country("47", "", "00"), "+4722334455", "22334455"),
            (National, country("", "0", "00"), "+4930123456", "004930123456"),
        ] {
            let numbering = numbering(format, country);
            assert_eq!(numbering.called_out(number), want, "{format} {number}");
            assert_eq!(numbering.caller_out(number), want, "{format} {number}");
        }
    }

    #[test]
    fn what_comes_in_from_one_country_goes_out_to_another() {
        let germany = numbering(NumberFormat::National, country("49", "0", "00"));
        let france = numbering(NumberFormat::National, country("33", "0", "00"));
        for (dialled, reached) in
            [("0033123456789", "0123456789"), ("030123456", "004930123456"), ("112", "112")]
        {
            assert_eq!(france.called_out(&germany.called_in(dialled)), reached);
        }
    }

    #[test]
    fn tech_prefix_strip_and_prepend_touch_called_numbers_only() {
        let mut numbering = numbering(NumberFormat::E164Bare, Country::default());
        numbering.tech_prefix = String::from("1234#");
        numbering.edit_out = Edit { strip: 2, prepend: String::from("9") };
        numbering.edit_in = Edit { strip: 1, prepend: String::new() };
        assert_eq!(numbering.called_out("+4930123456"), "1234#930123456");
        assert_eq!(numbering.caller_out("+4930123456"), "4930123456");
        assert_eq!(numbering.called_in("1234#84930123456"), "+4930123456");
        assert_eq!(numbering.called_in("84930123456"), "+4930123456", "without the prefix too");
        assert_eq!(numbering.caller_in("4930123456"), "+4930123456");
        // A number that strip would leave empty stays whole: there is always somebody to call.
        assert_eq!(numbering.called_out("11"), "1234#11");
        assert_eq!(numbering.called_out("112"), "1234#92");
        assert_eq!(numbering.called_in("5"), "5");
        numbering.edit_out = Edit { strip: 1, prepend: String::new() };
        assert_eq!(numbering.called_out("äb"), "1234#b", "characters, not bytes");
    }
}
