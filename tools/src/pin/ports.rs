//! Ranges of ports as the kernel writes them: `80,30000-39999`.

use std::ops::RangeInclusive;

/// The ranges of a text; what is none is left out.
fn spans(text: &str) -> Vec<RangeInclusive<u16>> {
    let spans = text.trim().split(',').filter_map(|span| {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(first..=last)
    });
    spans.collect()
}

/// Whether each port of `wanted` is in `now`.
pub fn covers(now: &str, wanted: &str) -> bool {
    let mut have = spans(now);
    have.sort_by_key(|span| *span.start());
    spans(wanted).into_iter().all(|wanted| {
        // The first port that is not yet seen to be covered.
        let mut next = u32::from(*wanted.start());
        for span in have.iter().filter(|span| u32::from(*span.end()) >= u32::from(*wanted.start()))
        {
            if u32::from(*span.start()) <= next {
                next = next.max(u32::from(*span.end()) + 1);
            }
        }
        next > u32::from(*wanted.end())
    })
}

/// The text with this range in it.
pub fn with(now: &str, range: &RangeInclusive<u16>) -> String {
    let range = format!("{}-{}", range.start(), range.end());
    if covers(now, &range) || now.trim().is_empty() {
        return if now.trim().is_empty() { range } else { now.trim().to_owned() };
    }
    format!("{},{range}", now.trim())
}

/// Whether the kernel may give a port of `range` to a program that asks for any; `local` is
/// `ip_local_port_range`.
pub fn is_given_away(local: &str, range: &RangeInclusive<u16>) -> bool {
    let mut ends = local.split_ascii_whitespace().map(str::parse::<u16>);
    let (Some(Ok(low)), Some(Ok(high))) = (ends.next(), ends.next()) else { return false };
    *range.start() <= high && *range.end() >= low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_cover_also_together() {
        for (now, wanted, covered) in [
            ("30000-39999", "30000-39999", true),
            ("30000-34999,35000-39999", "30000-39999", true),
            ("35000-39999,30000-34999", "30000-39999", true),
            ("30000-34998,35000-39999", "30000-39999", false),
            ("", "30000-39999", false),
            ("1-65535", "65535-65535", true),
            ("x,9-1", "1-9", false),
        ] {
            assert_eq!(covers(now, wanted), covered, "{now} over {wanted}");
        }
        assert_eq!(with("", &(5..=9)), "5-9");
        assert_eq!(with("22", &(5..=9)), "22,5-9");
        assert_eq!(with("1-10", &(5..=9)), "1-10");
        assert!(is_given_away("32768\t60999", &(30_000..=39_999)));
        assert!(!is_given_away("32768\t60999", &(20_000..=29_999)));
        assert!(!is_given_away("", &(1..=2)));
    }

    proptest! {
        #[test]
        fn what_was_added_is_covered(text in "[0-9,-]{0,30}", first in 1024_u16..60_000, n in 0_u16..5_000) {
            let range = first..=first + n;
            let added = with(&text, &range);
            let wanted = format!("{}-{}", first, first + n);
            prop_assert!(covers(&added, &wanted));
        }
    }
}
