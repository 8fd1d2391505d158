//! Every measurement, the medians over the rounds, and the tables.

use std::collections::BTreeMap;

use serde::Serialize;

use super::machine::Machine;

/// Each figure's column: its name in the JSON, the table's heading, and how many decimals the table shows.
const COLUMNS: &[(&str, &str, usize)] = &[
    ("messages_per_second", "messages/s", 0),
    ("mib_per_second", "MiB/s", 1),
    ("cpu_us_per_message", "own CPU µs/message", 2),
    ("running_cpu_us_per_message", "own CPU µs/message after the start", 2),
    ("database_cpu_us_per_message", "database's CPU µs/message", 2),
    ("total_cpu_us_per_message", "own + database's", 2),
    ("broker_cpu_us_per_message", "broker's CPU µs/message", 1),
    ("seconds", "seconds", 2),
    ("start_ms", "ready after ms", 0),
    ("rss_mib", "RSS MiB", 1),
    ("peak_rss_mib", "peak RSS MiB", 1),
    ("mib", "MiB", 2),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("p999_ms", "p99.9 ms", 2),
    ("max_ms", "largest ms", 1),
    ("resolution_ms", "resolution ms", 2),
    ("handed_over_bytes_per_message", "wchar: bytes/message", 0),
    ("process_bytes_per_message", "process: bytes/message", 0),
    ("process_gb_per_day", "process: GB a day", 2),
    ("device_bytes_per_message", "device: bytes/message", 0),
];

/// The figures of one measurement, by name.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    #[serde(flatten)]
    values: BTreeMap<&'static str, f64>,
    #[serde(rename = "cpu_us_per_message_by_thread", skip_serializing_if = "BTreeMap::is_empty")]
    threads: BTreeMap<String, f64>,
}

impl Figures {
    /// The name must be one of [`COLUMNS`].
    pub(crate) fn put(&mut self, name: &'static str, value: f64) {
        assert!(COLUMNS.iter().any(|column| column.0 == name), "{name} has no column");
        self.values.insert(name, value);
    }

    pub(crate) fn put_thread(&mut self, name: &str, cpu_us_per_message: f64) {
        self.threads.insert(name.to_owned(), cpu_us_per_message);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }
}

/// One subject under one load, once; or the median of its rounds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measurement {
    pub(crate) scenario: &'static str,
    pub(crate) subject: String,
    pub(crate) load: String,
    /// `None`: the median of each figure by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round: Option<u32>,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// All that a run has found out.
pub(crate) struct Report {
    machine: Machine,
    measurements: Vec<Measurement>,
}

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    medians: Vec<Measurement>,
    measurements: &'a [Measurement],
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Report {
        Report { machine, measurements: Vec::new() }
    }

    /// Keeps a measurement and shows it.
    pub(crate) fn add(&mut self, scenario: &'static str, subject: &str, load: &str, round: u32, figures: Figures) {
        let shown: Vec<String> = COLUMNS
            .iter()
            .filter_map(|(name, heading, decimals)| Some(format!("{heading} {:.*}", *decimals, figures.get(name)?)))
            .collect();
        eprintln!("{scenario}, round {round}: {subject}, {load}: {}", shown.join(", "));
        let (subject, load) = (subject.to_owned(), load.to_owned());
        self.measurements.push(Measurement { scenario, subject, load, round: Some(round), figures });
    }

    pub(crate) fn json(&self) -> serde_json::Result<Vec<u8>> {
        let document = Document { machine: &self.machine, medians: self.medians(), measurements: &self.measurements };
        serde_json::to_vec_pretty(&document)
    }

    /// The tables, as Markdown.
    pub(crate) fn print(&self) {
        println!("\n{}", self.machine);
        let medians = self.medians();
        for (index, first) in medians.iter().enumerate() {
            if medians[..index].iter().all(|earlier| earlier.scenario != first.scenario) {
                let rows: Vec<&Measurement> = medians.iter().filter(|row| row.scenario == first.scenario).collect();
                print_table(first.scenario, &rows);
            }
        }
    }

    /// The median over the rounds of `figure`'s ratio between two measurements of the same round.
    pub(crate) fn ratio(&self, scenario: &str, over: (&str, &str), under: (&str, &str), figure: &str) -> Option<f64> {
        let of = |(subject, load): (&str, &str), round: Option<u32>| {
            let fits = |one: &&Measurement| {
                one.scenario == scenario && one.subject == subject && one.load == load && one.round == round
            };
            self.measurements.iter().find(fits).and_then(|one| one.figures.get(figure))
        };
        let mut ratios = Vec::new();
        for one in &self.measurements {
            if one.scenario == scenario && (one.subject.as_str(), one.load.as_str()) == over {
                ratios.push(of(over, one.round)? / of(under, one.round)?);
            }
        }
        (!ratios.is_empty()).then(|| median(ratios))
    }

    fn medians(&self) -> Vec<Measurement> {
        let mut groups: Vec<Vec<&Measurement>> = Vec::new();
        for one in &self.measurements {
            let alike = |group: &&mut Vec<&Measurement>| {
                let first = group[0];
                first.scenario == one.scenario && first.subject == one.subject && first.load == one.load
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.push(one),
                None => groups.push(vec![one]),
            }
        }
        groups.iter().map(|group| median_of(group)).collect()
    }
}

fn median_of(group: &[&Measurement]) -> Measurement {
    let mut figures = Figures::default();
    for name in group[0].figures.values.keys() {
        figures.put(name, median(group.iter().filter_map(|one| one.figures.get(name)).collect()));
    }
    for name in group[0].figures.threads.keys() {
        let of = |one: &&Measurement| one.figures.threads.get(name).copied();
        figures.put_thread(name, median(group.iter().filter_map(of).collect()));
    }
    Measurement { round: None, figures, ..group[0].clone() }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

fn print_table(scenario: &str, rows: &[&Measurement]) {
    let is_used = |name: &str| rows.iter().any(|row| row.figures.get(name).is_some());
    let columns: Vec<_> = COLUMNS.iter().filter(|column| is_used(column.0)).collect();
    let headings: Vec<&str> = columns.iter().map(|column| column.1).collect();
    println!("\n### {scenario}\n");
    println!("| | load | {} |", headings.join(" | "));
    println!("|---|---|{}", "--:|".repeat(columns.len()));
    for row in rows {
        let cell = |(name, _, decimals): &&(&str, &str, usize)| {
            row.figures.get(name).map_or(String::new(), |value| with_commas(&format!("{value:.decimals$}")))
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        println!("| {} | {} | {} |", row.subject, row.load, cells.join(" | "));
    }
    println!();
    for row in rows.iter().filter(|row| row.figures.threads.len() > 1) {
        let threads = row.figures.threads.iter().filter(|(_, used)| **used >= 0.05);
        let shown: Vec<String> = threads.map(|(name, used)| format!("{name} {used:.1}")).collect();
        println!("- {}, {}: CPU µs/message by thread: {}", row.subject, row.load, shown.join(", "));
    }
}

/// `1234567.8` as `1,234,567.8`.
fn with_commas(number: &str) -> String {
    let (whole, rest) = number.find('.').map_or((number, ""), |point| number.split_at(point));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}
