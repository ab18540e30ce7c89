//! How a trunk writes numbers: the number fields of a `[[trunk]]`.

use super::section::Section;
use crate::route::numbering::{Country, Edit, NumberFormat, Numbering};

/// Reads the number fields.
pub(super) fn read(section: &mut Section<'_, '_>) -> Numbering {
    let format_in = format(section, "number_format_in");
    let format_out = format(section, "number_format_out");
    let usual = Country::default();
    let country = Country {
        code: digits(section, "country_code", CODE_DIGITS_MAX).unwrap_or(usual.code),
        trunk_prefix: digits(section, "trunk_prefix", PREFIX_DIGITS_MAX)
            .unwrap_or(usual.trunk_prefix),
        international_prefix: digits(section, "international_prefix", PREFIX_DIGITS_MAX)
            .unwrap_or(usual.international_prefix),
    };
    for (key, format) in [("number_format_in", format_in), ("number_format_out", format_out)] {
        if format == NumberFormat::National && country.code.is_empty() {
            let remedy = "set country_code, as in \"49\"";
            section.error(key, "national numbers of which country?", remedy);
        }
    }
    if format_out == NumberFormat::National && country.international_prefix.is_empty() {
        let remedy = "set international_prefix, as in \"00\"";
        let problem = "numbers of other countries could not be told from national ones";
        section.error("international_prefix", problem, remedy);
    }
    Numbering {
        country,
        format_in,
        format_out,
        tech_prefix: text(section, "tech_prefix"),
        edit_in: Edit { strip: strip(section, "strip_in"), prepend: text(section, "prepend_in") },
        edit_out: Edit {
            strip: strip(section, "strip_out"),
            prepend: text(section, "prepend_out"),
        },
    }
}

fn format(section: &mut Section<'_, '_>, key: &'static str) -> NumberFormat {
    let word = section.word(key, &NumberFormat::NAMES).map(|word| word.value);
    word.and_then(|index| NumberFormat::ALL.get(index)).copied().unwrap_or_default()
}

fn strip(section: &mut Section<'_, '_>, key: &'static str) -> usize {
    let count = section.integer(key, 0..65).map_or(0, |count| count.value);
    usize::try_from(count).unwrap_or_default()
}

fn digits(section: &mut Section<'_, '_>, key: &'static str, max: usize) -> Option<String> {
    let text = section.string(key)?.value;
    if text.len() > max || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let problem = format!("\"{text}\" are not at most {max} digits");
        section.error(key, problem, "write digits alone, as in \"49\", \"0\" or \"00\"");
        return None;
    }
    Some(text)
}

/// What stands in front of a number.
pub(super) fn text(section: &mut Section<'_, '_>, key: &'static str) -> String {
    let text = section.string(key).map(|text| text.value).unwrap_or_default();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+*#-_.!".contains(&b);
    if text.len() > TEXT_BYTES_MAX || !text.bytes().all(allowed) {
        let remedy = "use at most 64 letters, digits and + * # - _ . !";
        section.error(key, format!("\"{text}\" cannot stand in a number"), remedy);
        return String::new();
    }
    text
}

/// Longest country code (ITU-T E.164).
const CODE_DIGITS_MAX: usize = 3;
/// Longest dialling prefix, with the code of a carrier behind it.
const PREFIX_DIGITS_MAX: usize = 8;
const TEXT_BYTES_MAX: usize = 64;
