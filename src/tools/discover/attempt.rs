//! Tries a rule on the received messages: by the daemon's own plans, for the tables that the rule would create.

use std::collections::{BTreeMap, BTreeSet};

use super::group::Group;
use crate::clock;
use crate::config::{self, Config, LoadRequest, Needs};
use crate::message::{Message, Properties, Qos, Seq};
use crate::tools::explain::{Fate, Tables, Verdict, explain};

/// Payloads of one rule that it is tried on, evenly chosen: each is explained by itself, about ten thousand in a second.
const SAMPLES_MAX: usize = 5_000;

/// Where configurations are tried.
pub(super) struct Bench {
    request: LoadRequest,
}

impl Bench {
    pub(super) fn new(load: &LoadRequest) -> Bench {
        let request = LoadRequest {
            overrides: Vec::new(),
            environment: BTreeMap::new(),
            not_text: BTreeSet::new(),
            needs: Needs::no_secrets(),
            ..load.clone()
        };
        Bench { request }
    }

    /// The error tells every mistake.
    pub(super) fn load(&self, yaml: &str) -> Result<Config, String> {
        config::load_text(&self.request, yaml).map_err(|report| report.to_string())
    }

    /// Whether the configuration makes a row of every sample of the group; if not, the column at fault, if it is one.
    pub(super) fn attempt(&self, yaml: &str, group: &Group<'_>) -> Result<(), Option<String>> {
        let config = self.load(yaml).map_err(|_| Some(String::new()))?;
        let tables = Tables::assumed(&config);
        let count: usize = group.topics.iter().map(|(_, seen)| seen.samples.len()).sum();
        let samples =
            group.topics.iter().flat_map(|(topic, seen)| seen.samples.iter().map(move |sample| (topic, sample)));
        for (topic, payload) in samples.step_by(count.div_ceil(SAMPLES_MAX).max(1)) {
            let message = Message {
                topic,
                payload,
                qos: Qos::AtLeastOnce,
                retain: false,
                dup: false,
                properties: Properties::NONE,
                received_at: clock::now(),
                fault: None,
                seq: Seq::FIRST,
            };
            let explanation = explain(&config, &tables, &message);
            let taken = explanation.rules.iter().find_map(|view| match &view.verdict {
                Verdict::Taken(taken) => Some(taken),
                Verdict::NotTaken(_) => None,
            });
            match taken {
                Some(taken) if taken.fate == Fate::Written && !taken.rows.is_empty() => {}
                Some(taken) => return Err(taken.error.as_ref().and_then(|error| error.column.clone())),
                None => return Err(Some(String::new())),
            }
        }
        Ok(())
    }
}
