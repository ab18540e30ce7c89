//! Sets of processors, in the two notations of the kernel: lists (`0-3,8`) and masks (`0000010f`).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

/// Numbers stay below this: twice what the kernel can be built for.
pub const CPU_MAX: usize = 16_384;

/// Processors (logical ones, as the kernel numbers them), or NUMA nodes, in order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Cpus(BTreeSet<usize>);

impl Cpus {
    /// Reads a list: `0-3,8`, empty for none. `None` for what is no list or names a number that no
    /// kernel has.
    pub fn from_list(text: &str) -> Option<Cpus> {
        let mut found = BTreeSet::new();
        for span in text.trim().split(',').filter(|span| !span.is_empty()) {
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            found.extend(first..=last);
        }
        Some(Cpus(found))
    }

    /// Reads a mask: groups of up to eight hexadecimal digits, the highest first.
    pub fn from_mask(text: &str) -> Option<Cpus> {
        let mut found = BTreeSet::new();
        for (group, digits) in text.trim().rsplit(',').enumerate() {
            if digits.is_empty() || digits.len() > 8 || group * 32 >= CPU_MAX {
                return None;
            }
            let bits = u32::from_str_radix(digits, 16).ok()?;
            let set = (0..32).filter(|bit| bits & (1 << bit) != 0);
            found.extend(set.map(|bit| group * 32 + bit));
        }
        Some(Cpus(found))
    }

    /// As the kernel takes a mask, without leading groups of zeros.
    pub fn mask(&self) -> String {
        let groups = self.0.last().map_or(1, |last| last / 32 + 1);
        let group = |at: usize| {
            let inside = self.0.range(at * 32..(at + 1) * 32);
            inside.fold(0_u32, |bits, cpu| bits | 1 << (cpu % 32))
        };
        let groups: Vec<String> =
            (0..groups).rev().map(|at| format!("{:08x}", group(at))).collect();
        groups.join(",")
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.0.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, cpu: usize) -> bool {
        self.0.contains(&cpu)
    }

    pub fn first(&self) -> Option<usize> {
        self.0.first().copied()
    }

    pub fn and(&self, other: &Cpus) -> Cpus {
        Cpus(self.0.intersection(&other.0).copied().collect())
    }

    pub fn or(&self, other: &Cpus) -> Cpus {
        Cpus(self.0.union(&other.0).copied().collect())
    }

    pub fn without(&self, other: &Cpus) -> Cpus {
        Cpus(self.0.difference(&other.0).copied().collect())
    }
}

fn number(text: &str) -> Option<usize> {
    // `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number < CPU_MAX)
}

impl FromIterator<usize> for Cpus {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Cpus {
        Cpus(cpus.into_iter().collect())
    }
}

/// The list notation; `none` for no processor.
impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for cpu in self.iter() {
            match spans.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => spans.push((cpu, cpu)),
            }
        }
        let spans: Vec<String> = spans
            .into_iter()
            .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") })
            .collect();
        f.write_str(if spans.is_empty() { "none".to_owned() } else { spans.join(",") }.as_str())
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_notations_are_read_and_written_as_the_kernel_does() {
        for (list, mask, written) in [
            ("0-3,8", "0000010f", "0-3,8"),
            ("", "00000000", "none"),
            ("33,97", "00000002,00000000,00000002,00000000", "33,97"),
            ("31-32", "1,80000000", "31-32"),
        ] {
            let cpus = Cpus::from_list(list).unwrap();
            assert_eq!(Cpus::from_mask(mask), Some(cpus.clone()), "{mask}");
            assert_eq!(Cpus::from_mask(&cpus.mask()), Some(cpus.clone()));
            assert_eq!(cpus.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_set_is_refused_and_none_is_too_large_to_hold() {
        for list in ["x", "3-1", "-1", "1-", "+1", "0-4294967295", "16384", "1,,x", "1 2"] {
            assert_eq!(Cpus::from_list(list), None, "{list}");
        }
        for mask in ["", "g", "123456789", "1,", "-1"] {
            assert_eq!(Cpus::from_mask(mask), None, "{mask}");
        }
        assert_eq!(Cpus::from_mask(&"0,".repeat(600)), None);
    }

    proptest! {
        #[test]
        fn any_set_survives_both_notations(cpus in prop::collection::btree_set(0..CPU_MAX, 0..40)) {
            let cpus: Cpus = cpus.into_iter().collect();
            let list = if cpus.is_empty() { String::new() } else { cpus.to_string() };
            prop_assert_eq!(Cpus::from_list(&list), Some(cpus.clone()));
            prop_assert_eq!(Cpus::from_mask(&cpus.mask()), Some(cpus));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}", near in "[0-9a-f,-]{0,40}") {
            for text in [text, near] {
                let _ = (Cpus::from_list(&text), Cpus::from_mask(&text));
            }
        }
    }
}
