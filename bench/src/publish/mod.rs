//! Reports: one folder for each day and machine, `bench/results/DATE-HOST/`.
//!
//! | file | what |
//! |---|---|
//! | `NAME.md` | the page: machine, rules of measurement, tables, flaws |
//! | `NAME.json` | the same and every single run, raw |
//! | `NAME-cost.svg`, `NAME-delay.svg` | bars by workload or rate; delay by percentile |

mod figure;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fault::Fault;
use crate::stage::Host;
pub use figure::{Bar, Curve};

/// A report about to be written.
pub struct Report<'a, T> {
    /// Of the command: `compare`, `media`, `crypto`.
    pub name: &'a str,
    pub host: &'a Host,
    /// The command line that made it.
    pub command: String,
    /// The page as the terminal showed it.
    pub page: &'a str,
    pub raw: &'a T,
    pub bars: Vec<Bar>,
    /// What the bars count.
    pub unit: &'a str,
    pub curves: Vec<Curve>,
    /// More bars: name, bars, what they count.
    pub more: Vec<(&'a str, Vec<Bar>, &'a str)>,
}

impl<T: Serialize> Report<'_, T> {
    /// Writes it and says where.
    ///
    /// # Errors
    /// The folder cannot be written, or a figure cannot be drawn.
    pub fn write(&self, under: &Path) -> Result<PathBuf, Fault> {
        let folder = under.join(format!("{}-{}", today(), self.host.name));
        fs::create_dir_all(&folder).map_err(Fault::io(folder.display()))?;
        let json = serde_json::to_string_pretty(&serde_json::json!({
            "command": self.command,
            "host": self.host,
            "data": self.raw,
        }))
        .map_err(|error| Fault::new(format!("JSON: {error}"), ""))?;
        let put = |suffix: &str, text: &str| {
            let path = folder.join(format!("{}{suffix}", self.name));
            fs::write(&path, text).map_err(Fault::io(path.display()))
        };
        put(".json", &json)?;
        put(".md", &self.markdown())?;
        if !self.bars.is_empty() {
            put("-cost.svg", &figure::bars(&self.bars, self.unit)?)?;
        }
        for (name, bars, unit) in self.more.iter().filter(|(_, bars, _)| !bars.is_empty()) {
            put(&format!("-{name}.svg"), &figure::bars(bars, unit)?)?;
        }
        if !self.curves.is_empty() {
            put("-delay.svg", &figure::curves(&self.curves)?)?;
        }
        Ok(folder)
    }

    fn markdown(&self) -> String {
        let host = self.host;
        let mut text = format!(
            "# bench {}\n\n`{}`\n\n```text\n{}\n```\n\n",
            self.name,
            self.command,
            self.page.trim_end()
        );
        let name = self.name;
        if !self.bars.is_empty() {
            text.push_str(&format!("![Cost]({name}-cost.svg)\n\n"));
        }
        for (more, _, unit) in self.more.iter().filter(|(_, bars, _)| !bars.is_empty()) {
            text.push_str(&format!("![{unit}]({name}-{more}.svg)\n\n"));
        }
        if !self.curves.is_empty() {
            text.push_str(&format!("![Delay by percentile]({name}-delay.svg)\n\n"));
        }
        text.push_str(&format!(
            "| | |\n|---|---|\n| date | {} |\n| commit | {} |\n| kernel | {} |\n| CPU | {} x {} |\n\
             | kernel command line | `{}` |\n| mitigations | {} |\n",
            today(),
            host.commit,
            host.kernel,
            host.cores,
            host.cpu,
            host.flags,
            if host.mitigations.is_empty() { "none".into() } else { host.mitigations.join("; ") },
        ));
        text
    }
}

/// Where reports go: beside this package when it is built in its repository.
pub fn results_folder() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    if source.is_dir() { source.join("results") } else { PathBuf::from("results") }
}

/// The words of this process's command line.
pub fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("bench {}", words.join(" "))
}

fn today() -> String {
    let now = jiff::Timestamp::now().to_string();
    now.get(..10).unwrap_or("undated").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_page_raw_data_and_figures() {
        let host = Host {
            name: "testhost".into(),
            kernel: "6.18".into(),
            cpu: "AMD".into(),
            cores: 2,
            commit: "abc".into(),
            flags: "quiet".into(),
            mitigations: vec!["spectre_v2: Mitigation: Retpolines".into()],
        };
        let report = Report {
            name: "compare",
            host: &host,
            command: "bench compare".into(),
            page: "workload  ratio\nrelay  2.0\n",
            raw: &[1, 2, 3],
            bars: vec![Bar { group: "relay".into(), of: "ours".into(), value: 3.0 }],
            unit: "us",
            curves: vec![Curve { of: "ours".into(), points: vec![(0.5, 100.0), (0.99, 300.0)] }],
            more: vec![(
                "goodput",
                vec![Bar { group: "2000".into(), of: "good".into(), value: 9.0 }],
                "calls/s",
            )],
        };
        let under = std::env::temp_dir().join(format!("bench-report-{}", std::process::id()));
        let folder = report.write(&under).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let page = read("compare.md");
        for part in [
            "relay  2.0",
            "Retpolines",
            "compare-cost.svg",
            "compare-goodput.svg",
            "abc",
            "bench compare",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let raw: serde_json::Value = serde_json::from_str(&read("compare.json")).unwrap();
        assert_eq!(raw["data"], serde_json::json!([1, 2, 3]));
        assert_eq!(raw["host"]["kernel"], "6.18");
        assert!(read("compare-cost.svg").contains("relay"));
        assert!(read("compare-goodput.svg").contains("2000"));
        assert!(read("compare-delay.svg").contains("<polyline"));
        assert!(folder.ends_with(format!("{}-testhost", today())));
        fs::remove_dir_all(under).unwrap();
    }
}
