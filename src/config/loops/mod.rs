//! Loops: a row is published to a topic from which a rule stores it in a published table again.
//!
//! A [`Hop`] is a publication, a rule that takes its messages, and the publication of the table into which that rule writes.
//! A loop is a series of hops that ends where it began. A hop is certain if
//!
//! - the rule takes every topic of the publication, where the value of a column counts as one level,
//! - the rule always writes into that table, and the row is an event that is published, and
//! - neither has a program that could leave messages out.
//!
//! A loop of certain hops is a mistake of the configuration. Another loop is possible at most: `rowbridge check` lists it
//! as a warning, and the bridge logs it at its start. Triggers and procedures of the databases are not known here.

mod intake;
mod topics;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use self::intake::{Home, Intake, intake};
use self::topics::Topics;
use super::{Config, Database, Publication, Rule};
use crate::rule::{RowSource, Template};

/// One step of a loop.
#[derive(Debug, Clone, Copy)]
struct Hop {
    rule: usize,
    /// Index of the rule's topic that takes the messages.
    topic: usize,
    /// Whether every topic of the publication is taken.
    takes_all: bool,
    into: Intake,
    is_certain: bool,
}

/// Hops from one publication back to it.
pub(super) struct Loop {
    /// The publications in order, each with the hop to the next; the last one leads to the first.
    hops: Vec<(usize, Hop)>,
    pub(super) is_certain: bool,
}

impl Loop {
    /// The first publication, in the order of the file.
    pub(super) fn publication(&self) -> usize {
        self.hops[0].0
    }

    /// What happens, in words: a sentence.
    pub(super) fn words<R: Borrow<Rule>>(&self, rules: &[R], publications: &[Publication]) -> String {
        if let [(_, hop)] = &self.hops[..]
            && self.is_certain
        {
            let rule: &Rule = rules[hop.rule].borrow();
            let topic = rule.topics[hop.topic].as_str();
            return format!(
                "rule `{}` takes `{topic}` into the same table: each published row would be stored and published again",
                rule.name
            );
        }
        let mut text = String::new();
        for (index, (publication, hop)) in self.hops.iter().enumerate() {
            let next = &publications[self.hops[(index + 1) % self.hops.len()].0];
            let Publication { name, topic, .. } = &publications[*publication];
            let rule: &Rule = rules[hop.rule].borrow();
            let taken = rule.topics[hop.topic].as_str();
            let verb = if hop.takes_all { "takes" } else { "may take" };
            let into = match hop.into {
                Intake::Table => format!("into table {}", next.table),
                Intake::Named => format!("into a table that messages name, which may be {}", next.table),
                Intake::Statement => format!("for a statement that names table {}", next.table),
            };
            let joint = if index > 0 { "; " } else { "" };
            let _ = write!(
                text,
                "{joint}publish {name} sends rows to `{topic}`, and rule {} {verb} `{taken}` {into}",
                rule.name
            );
        }
        text + if self.is_certain {
            ": each row would be stored and published again without end"
        } else {
            ": rows may be stored and published again without end"
        }
    }
}

/// The loops of these rules and publications. Each publication is in one of them at most, a certain one first.
pub(super) fn find<R: Borrow<Rule>>(
    bridge: &str,
    databases: &[Database],
    rules: &[R],
    publications: &[Publication],
) -> Vec<Loop> {
    let hops = hops(bridge, databases, rules, publications);
    let mut is_known = vec![false; publications.len()];
    let mut loops = Vec::new();
    for is_certain in [true, false] {
        // A publication that feeds itself comes before ways over others.
        for hops_max in [1, publications.len()] {
            for start in 0..publications.len() {
                if is_known[start] {
                    continue;
                }
                let may_pass = |(from, to): (usize, usize), hop: &Hop| {
                    !is_known[from] && !is_known[to] && (hop.is_certain || !is_certain)
                };
                let Some(way) = shortest(&hops, start, hops_max, may_pass) else { continue };
                for (publication, _) in &way {
                    is_known[*publication] = true;
                }
                loops.push(Loop { hops: way, is_certain });
            }
        }
    }
    loops.sort_by_key(Loop::publication);
    loops
}

/// The loops that are possible in a valid configuration: the publication's name, and what may happen.
pub(crate) fn possible_loops(config: &Config) -> Vec<(Arc<str>, String)> {
    let Config { bridge, databases, rules, publish, .. } = config;
    let found = find(bridge, databases, rules, publish);
    found.iter().map(|found| (Arc::clone(&publish[found.publication()].name), found.words(rules, publish))).collect()
}

/// The rule that takes changes of the definition into the table itself, and its topic: they are no rows of it.
pub(super) fn takes_definition<'r>(
    bridge: &str,
    databases: &[Database],
    rules: &'r [Rule],
    publication: &Publication,
    meta_topic: &Template<RowSource>,
) -> Option<(&'r Rule, &'r str)> {
    let home = Home::of(databases.get(publication.database)?);
    let topics = Topics::of(meta_topic, publication, &home, bridge);
    rules.iter().find_map(|rule| {
        if rule.database != publication.database || !home.is_same(rule, publication) {
            return None;
        }
        let taken = rule.topics.iter().find(|topic| topics.are_all_taken_by(topic));
        taken.map(|topic| (rule, topic.as_str()))
    })
}

/// Every hop, by the publications that it leads from and to: of several rules one that makes it certain.
fn hops<R: Borrow<Rule>>(
    bridge: &str,
    databases: &[Database],
    rules: &[R],
    publications: &[Publication],
) -> BTreeMap<(usize, usize), Hop> {
    let mut hops: BTreeMap<(usize, usize), Hop> = BTreeMap::new();
    let homes: Vec<Home<'_>> = databases.iter().map(Home::of).collect();
    // A publication without a database has a finding of its own.
    let sent = |publication: &Publication| {
        let home = homes.get(publication.database)?;
        Some(Topics::of(&publication.topic, publication, home, bridge))
    };
    let sent: Vec<Option<Topics>> = publications.iter().map(sent).collect();
    for (index, rule) in rules.iter().enumerate() {
        let rule: &Rule = rule.borrow();
        let Some(home) = homes.get(rule.database) else { continue };
        let intakes: Vec<_> = publications
            .iter()
            .enumerate()
            .filter_map(|(to, publication)| Some((to, intake(rule, publication, home)?)))
            .collect();
        if intakes.is_empty() {
            continue;
        }
        for (topic, pattern) in rule.topics.iter().enumerate() {
            for (from, topics) in sent.iter().enumerate() {
                let Some(topics) = topics.as_ref().filter(|topics| topics.may_be_taken_by(pattern)) else { continue };
                let takes_all = topics.are_all_taken_by(pattern);
                for (to, (into, is_always)) in &intakes {
                    let is_certain = takes_all && *is_always && publications[from].predicate.is_none();
                    let hop = Hop { rule: index, topic, takes_all, into: *into, is_certain };
                    let known = hops.entry((from, *to)).or_insert(hop);
                    if hop.is_certain && !known.is_certain {
                        *known = hop;
                    }
                }
            }
        }
    }
    hops
}

/// The shortest way from a publication back to it.
fn shortest(
    hops: &BTreeMap<(usize, usize), Hop>,
    start: usize,
    hops_max: usize,
    may_pass: impl Fn((usize, usize), &Hop) -> bool,
) -> Option<Vec<(usize, Hop)>> {
    let mut ways: VecDeque<(usize, Vec<(usize, Hop)>)> = VecDeque::from([(start, Vec::new())]);
    let mut is_reached = BTreeSet::new();
    while let Some((at, way)) = ways.pop_front() {
        if way.len() == hops_max {
            continue;
        }
        for (&(_, to), hop) in hops.range((at, 0)..=(at, usize::MAX)) {
            if !may_pass((at, to), hop) {
                continue;
            }
            let way: Vec<(usize, Hop)> = way.iter().copied().chain([(at, *hop)]).collect();
            if to == start {
                return Some(way);
            }
            if is_reached.insert(to) {
                ways.push_back((to, way));
            }
        }
    }
    None
}
