//! From topics to groups: topics of one pattern whose payloads have one format.
//!
//! Topics of known device families are grouped by their recipes. Every other topic begins as a group of its own. Groups
//! that differ in only one level are merged if that level looks like a device or a place and their payloads are alike.
//! At the end no pattern may match a topic of another group: a level that would is written out ([`separate`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::families::{RECIPES, Recipe};
use super::form::{Form, keys};
use super::learned::{Learned, TopicSeen};
use super::names;
use crate::rule::TopicPattern;

/// JSON objects are alike if they have so much of their fields in common.
const COMMON_KEYS_MIN: f64 = 0.5;

/// What a level of a pattern is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Level {
    Fixed(String),
    /// One of several.
    Varies,
    /// The rest of the topic, with its name.
    Rest(String),
}

/// Topics that one rule takes.
pub(super) struct Group<'l> {
    /// At first one pattern; several where levels had to be written out.
    pub(super) patterns: Vec<Vec<Level>>,
    /// Names of captured levels, by their place.
    pub(super) captures: BTreeMap<usize, String>,
    /// Names of levels that were captured before they were written out.
    pub(super) written_out: BTreeMap<usize, String>,
    pub(super) topics: Vec<(&'l str, &'l TopicSeen)>,
    pub(super) form: Form,
    keys: BTreeSet<String>,
    pub(super) recipe: Option<&'static Recipe>,
}

impl Group<'_> {
    pub(super) fn count(&self) -> u64 {
        self.topics.iter().map(|(_, seen)| seen.count).sum()
    }

    /// As rules have them.
    pub(super) fn pattern_texts(&self) -> Vec<String> {
        let level = |(place, level): (usize, &Level)| match level {
            Level::Fixed(text) => text.clone(),
            Level::Varies => self.captures.get(&place).map_or_else(|| "+".to_owned(), |name| format!("{{{name}}}")),
            Level::Rest(name) => format!("{{*{name}}}"),
        };
        let text = |levels: &Vec<Level>| levels.iter().enumerate().map(level).collect::<Vec<_>>().join("/");
        self.patterns.iter().map(text).collect()
    }

    fn takes(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern_takes(pattern, topic))
    }

    /// Writes a level out: a pattern for each of its values.
    fn write_out(&mut self, place: usize) {
        let mut written: Vec<Vec<Level>> = Vec::new();
        for pattern in &self.patterns {
            for (topic, _) in self.topics.iter().filter(|(topic, _)| pattern_takes(pattern, topic)) {
                let Some(value) = topic.split('/').nth(place) else { continue };
                let mut fixed = pattern.clone();
                fixed[place] = Level::Fixed(value.to_owned());
                if !written.contains(&fixed) {
                    written.push(fixed);
                }
            }
        }
        self.patterns = written;
        if let Some(name) = self.captures.remove(&place) {
            self.written_out.insert(place, name);
        }
    }

    fn varying(&self) -> Vec<usize> {
        let first = self.patterns.first().map_or(&[][..], Vec::as_slice);
        (0..first.len()).filter(|place| first[*place] == Level::Varies).collect()
    }

    fn values(&self, place: usize) -> BTreeSet<&str> {
        self.topics.iter().filter_map(|(topic, _)| topic.split('/').nth(place)).collect()
    }
}

fn pattern_takes(pattern: &[Level], topic: &str) -> bool {
    let mut levels = topic.split('/');
    for level in pattern {
        match (level, levels.next()) {
            (Level::Rest(_), found) => return found.is_some(),
            (_, None) => return false,
            (Level::Fixed(text), Some(found)) if text != found => return false,
            (Level::Varies | Level::Fixed(_), Some(_)) => {}
        }
    }
    levels.next().is_none()
}

/// The groups of everything learned, the busiest families first.
pub(super) fn groups(learned: &Learned) -> Vec<Group<'_>> {
    let (mut known, mut others): (Vec<Group<'_>>, Vec<Group<'_>>) = (Vec::new(), Vec::new());
    let recipes: Vec<(TopicPattern, &Recipe)> = RECIPES
        .iter()
        .map(|recipe| (TopicPattern::parse(recipe.pattern).expect("a recipe has a pattern"), recipe))
        .collect();
    let counted = Counted::of(learned);
    let devices = known_devices(learned, &recipes);
    for (topic, seen) in &learned.topics {
        // A leading wildcard does not match them, and the broker's own topics are not wanted.
        if topic.starts_with('$') {
            continue;
        }
        let form = seen.samples.iter().map(|sample| Form::of(sample)).fold(Form::Nothing, Form::and);
        match recipe_of(&recipes, topic, &form, &devices) {
            Some((pattern, recipe)) => {
                match known.iter_mut().find(|group| group.recipe.is_some_and(|known| std::ptr::eq(known, recipe))) {
                    Some(group) => {
                        group.topics.push((topic, seen));
                        group.form = group.form.clone().and(form);
                    }
                    None => known.push(of_recipe(pattern, recipe, topic, seen, form)),
                }
            }
            None => others.push(alone(topic, seen, form, &counted)),
        }
    }
    merge(&mut others);
    name_captures(&mut others);
    known.append(&mut others);
    separate(&mut known);
    known
}

fn recipe_of<'r>(
    recipes: &'r [(TopicPattern, &'static Recipe)],
    topic: &str,
    form: &Form,
    devices: &HashSet<(&str, &str)>,
) -> Option<(&'r TopicPattern, &'static Recipe)> {
    let mut parts = Vec::new();
    let found = recipes.iter().find(|(pattern, recipe)| {
        pattern.matches(topic, &mut parts)
            && (recipe.is_for)(form)
            && parts.first().is_none_or(|first| first.starts_with(recipe.begins))
            && (!recipe.of_known || parts.first().is_some_and(|first| devices.contains(&(recipe.family, *first))))
    });
    found.map(|(pattern, recipe)| (pattern, *recipe))
}

/// Devices that other recipes of their family have found: each with its family.
fn known_devices<'l>(
    learned: &'l Learned,
    recipes: &[(TopicPattern, &'static Recipe)],
) -> HashSet<(&'static str, &'l str)> {
    let mut devices = HashSet::new();
    let mut parts = Vec::new();
    for topic in learned.topics.keys() {
        for (pattern, recipe) in recipes.iter().filter(|(_, recipe)| !recipe.of_known) {
            if pattern.matches(topic, &mut parts)
                && let Some(device) = parts.first().filter(|device| device.starts_with(recipe.begins))
            {
                devices.insert((recipe.family, *device));
            }
        }
    }
    devices
}

/// Levels that are numbered: `site1` where there is a `site2`, too.
struct Counted<'l>(HashMap<(&'l str, usize, &'l str), BTreeSet<&'l str>>);

impl<'l> Counted<'l> {
    fn of(learned: &'l Learned) -> Counted<'l> {
        let mut counted: HashMap<_, BTreeSet<&str>> = HashMap::new();
        for topic in learned.topics.keys() {
            for (place, level) in topic.split('/').enumerate() {
                if let Some(key) = Counted::key(topic, place, level) {
                    counted.entry(key).or_default().insert(level);
                }
            }
        }
        Counted(counted)
    }

    /// The system that the topic belongs to, the level, and the text before the number.
    fn key<'t>(topic: &'t str, place: usize, level: &'t str) -> Option<(&'t str, usize, &'t str)> {
        let system = if place == 0 { "" } else { topic.split('/').next().unwrap_or_default() };
        names::numbered(level).map(|stem| (system, place, stem))
    }

    fn has(&self, topic: &str, place: usize, level: &str) -> bool {
        Counted::key(topic, place, level).is_some_and(|key| self.0.get(&key).is_some_and(|values| values.len() > 1))
    }
}

fn of_recipe<'l>(
    pattern: &TopicPattern,
    recipe: &'static Recipe,
    topic: &'l str,
    seen: &'l TopicSeen,
    form: Form,
) -> Group<'l> {
    let mut captures = BTreeMap::new();
    let levels = recipe.pattern.split('/').enumerate().map(|(place, text)| {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        match inner.map(|inner| (inner, inner.strip_prefix('*'))) {
            None => Level::Fixed(text.to_owned()),
            Some((_, Some(rest))) => Level::Rest(rest.to_owned()),
            Some((name, None)) => {
                captures.insert(place, name.to_owned());
                Level::Varies
            }
        }
    });
    let levels: Vec<Level> = levels.collect();
    debug_assert_eq!(levels.len(), pattern.as_str().split('/').count());
    Group {
        patterns: vec![levels],
        captures,
        written_out: BTreeMap::new(),
        topics: vec![(topic, seen)],
        form,
        keys: BTreeSet::new(),
        recipe: Some(recipe),
    }
}

fn alone<'l>(topic: &'l str, seen: &'l TopicSeen, form: Form, counted: &Counted<'_>) -> Group<'l> {
    let level = |(place, text): (usize, &str)| match names::is_identifier(text) || counted.has(topic, place, text) {
        true => Level::Varies,
        false => Level::Fixed(text.to_owned()),
    };
    let keys = match form.has_keys() {
        true => seen.samples.iter().flat_map(|sample| keys(sample)).collect(),
        false => BTreeSet::new(),
    };
    Group {
        patterns: vec![topic.split('/').enumerate().map(level).collect()],
        captures: BTreeMap::new(),
        written_out: BTreeMap::new(),
        topics: vec![(topic, seen)],
        form,
        keys,
        recipe: None,
    }
}

/// Merges groups whose patterns differ in one level, level by level from the left, until nothing changes.
fn merge(groups: &mut Vec<Group<'_>>) {
    let places = groups.iter().map(|group| group.patterns[0].len()).max().unwrap_or(0);
    let mut has_changed = true;
    while has_changed {
        has_changed = false;
        for place in 0..places {
            has_changed |= merge_at(groups, place);
        }
    }
}

fn merge_at(groups: &mut Vec<Group<'_>>, place: usize) -> bool {
    let mut buckets: HashMap<Vec<Level>, Vec<Group<'_>>> = HashMap::new();
    let mut order: Vec<Vec<Level>> = Vec::new();
    let before = groups.len();
    for group in groups.drain(..) {
        let mut pattern = group.patterns[0].clone();
        if let Some(level) = pattern.get_mut(place) {
            *level = Level::Varies;
        }
        let bucket = buckets.entry(pattern.clone()).or_default();
        if bucket.is_empty() {
            order.push(pattern);
        }
        // Each joins the first that it is like.
        match bucket.iter_mut().find(|other| are_alike(other, &group, place)) {
            Some(other) => absorb(other, group, place),
            None => bucket.push(group),
        }
    }
    groups.extend(order.iter().filter_map(|pattern| buckets.remove(pattern)).flatten());
    groups.len() < before
}

fn are_alike(one: &Group<'_>, other: &Group<'_>, place: usize) -> bool {
    if !one.form.fits(&other.form) {
        return false;
    }
    // The same pattern: it is one level for both already, or neither has it.
    let is_same = one.patterns[0] == other.patterns[0];
    if is_same {
        return true;
    }
    // The first topic of each group represents the others, which joined it by the same rule.
    let first = |group: &Group<'_>| group.topics[0].0.split('/').nth(place).unwrap_or_default().to_owned();
    let both = [first(one), first(other)];
    let is_enumerated = names::stem(both.iter().map(String::as_str)).is_some();
    if !one.form.has_keys() {
        // The first level is a system, not a device, unless it is enumerated or a room.
        return place > 0 || is_enumerated || both.iter().all(|value| names::is_room(value));
    }
    let common = one.keys.intersection(&other.keys).count();
    let all = one.keys.union(&other.keys).count();
    is_enumerated || (all > 0 && common as f64 / all as f64 >= COMMON_KEYS_MIN)
}

fn absorb<'l>(into: &mut Group<'l>, from: Group<'l>, place: usize) {
    if into.patterns[0] != from.patterns[0]
        && let Some(level) = into.patterns[0].get_mut(place)
    {
        *level = Level::Varies;
    }
    into.topics.extend(from.topics);
    into.keys.extend(from.keys);
    into.form = into.form.clone().and(from.form);
}

fn name_captures(groups: &mut [Group<'_>]) {
    for group in groups {
        let mut taken = BTreeSet::new();
        let places = group.varying();
        let last = group.patterns[0].len() - 1;
        for place in places {
            let before = match place.checked_sub(1).map(|before| &group.patterns[0][before]) {
                Some(Level::Fixed(text)) => Some(text.as_str()),
                _ => None,
            };
            let name = names::capture(&group.values(place), before, place == last, !group.form.has_keys());
            let name = names::unique(names::identifier(&name, "level"), &mut taken);
            group.captures.insert(place, name);
        }
    }
}

/// Writes levels out until no pattern takes a topic of another group.
fn separate(groups: &mut [Group<'_>]) {
    for index in 0..groups.len() {
        loop {
            let strangers = |group: &Group<'_>| {
                let others = groups.iter().enumerate().filter(|(other, _)| *other != index);
                others.flat_map(|(_, other)| &other.topics).filter(|(topic, _)| group.takes(topic)).count()
            };
            let group = &groups[index];
            if strangers(group) == 0 {
                break;
            }
            // The level that leaves the fewest strangers; of equal ones, the one with the fewest values.
            let choices = group.varying().into_iter().map(|place| {
                let mut written = Group {
                    patterns: group.patterns.clone(),
                    captures: group.captures.clone(),
                    written_out: BTreeMap::new(),
                    topics: group.topics.clone(),
                    form: group.form.clone(),
                    keys: BTreeSet::new(),
                    recipe: group.recipe,
                };
                written.write_out(place);
                (strangers(&written), written.patterns.len(), place)
            });
            let Some((_, _, place)) = choices.min() else { break };
            groups[index].write_out(place);
        }
    }
}
