//! Rules whose messages name their table.

use super::*;
use crate::rule::{Naming, Routing, TablePattern, Template};

fn naming(template: &str, rule: Rule) -> Rule {
    let routing = Routing {
        naming: Naming::Template(Template::parse(template).unwrap()),
        allowed: vec![TablePattern::new("*_t")],
        aliases: [("alias".to_owned(), TableName { schema: None, name: "meant".into() })].into(),
        has_schemas: true,
        databases: Vec::new(),
    };
    Rule { routing: Some(Arc::new(routing)), ..rule }
}

fn named(name: &str) -> Arc<TableSchema> {
    let name = TableName { schema: None, name: name.into() };
    Arc::new(TableSchema::new(name, vec![live("a", text()), live("b", ColumnType::Int4)]))
}

struct World {
    mapper: Mapper<Shown<false>>,
    batch: Batch,
    outcomes: Vec<(usize, Outcome)>,
    /// Every name that was looked up.
    asked: Vec<String>,
}

impl World {
    fn of(rules: Vec<Rule>) -> World {
        let none = vec![None; rules.len()];
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        let mapper = Mapper::compile_some("gw1", &rules, &none, &HashMap::new(), Shown).unwrap();
        World { mapper, batch: batch(), outcomes: Vec::new(), asked: Vec::new() }
    }

    /// Maps, looking up what is wanted: tables that begin with `no` are not there.
    fn map(&mut self, topic: &str, payload: &str) -> &Outcome {
        let message = message(topic, payload.as_bytes());
        while !self.mapper.map(&message, &mut self.batch, &mut self.outcomes) {
            // As delivery does: what is gathered goes in first.
            self.batch.clear(Seq(1));
            self.mapper.begin_batch(&self.batch);
            for want in self.mapper.take_wants() {
                let name = want.table.to_string();
                let found =
                    if name.starts_with("no") { Err("there is no such table".into()) } else { Ok(named(&name)) };
                self.asked.push(name);
                self.mapper.bind(&want, found);
            }
            self.mapper.begin_batch(&self.batch);
        }
        &self.outcomes[0].1
    }

    /// The tables and rows of the last unit.
    fn last(&self) -> Vec<(String, String)> {
        let of_run = |run: &crate::batch::Run| {
            let portion = &self.batch.portions[run.portion];
            let rows = run.first_row..run.first_row + run.row_count;
            let shown =
                |row| (portion.target.table.name.to_string(), String::from_utf8(portion.row(row).to_vec()).unwrap());
            rows.map(shown).collect::<Vec<_>>()
        };
        self.batch.runs_of(self.batch.units.len() - 1).iter().flat_map(of_run).collect()
    }
}

fn by_topic() -> Rule {
    naming("{topic.site}_t", rule(&["{site}/x"], vec![from("a", "topic"), from("b", "payload.b")]))
}

#[test]
fn a_message_goes_to_the_table_that_its_topic_names_which_is_looked_up_once() {
    let mut world = World::of(vec![by_topic()]);
    for (topic, table) in [("n/x", "n_t"), ("s/x", "s_t"), ("n/x", "n_t")] {
        assert_eq!(*world.map(topic, r#"{"b":1}"#), Outcome::Written);
        assert_eq!(world.last(), [(table.to_owned(), format!("2: Text(\"{topic}\");Int(1);"))]);
    }
    assert_eq!(world.asked, ["n_t", "s_t"]);
}

#[test]
fn a_want_leaves_the_batch_as_it_was_whatever_other_rules_wrote() {
    let fixed = rule(&["#"], vec![from("a", "topic")]);
    let rules: Vec<Arc<Rule>> = vec![Arc::new(fixed), Arc::new(by_topic())];
    let schemas = [Some(named("fixed")), None];
    let mut mapper = Mapper::compile_some("gw1", &rules, &schemas, &HashMap::new(), Shown::<false>).unwrap();
    let mut batch = batch();
    let mut outcomes = Vec::new();
    assert!(mapper.map(&message("other", b"{}"), &mut batch, &mut outcomes));
    let before = (batch.units.clone(), batch.runs.clone(), batch.row_count_of_all());
    assert!(!mapper.map(&message("n/x", br#"{"b":1}"#), &mut batch, &mut outcomes));
    assert_eq!((batch.units.clone(), batch.runs.clone(), batch.row_count_of_all()), before);
    assert_eq!(mapper.take_wants().len(), 1);
}

#[test]
fn what_is_not_allowed_not_there_or_not_named_is_refused() {
    let mut world =
        World::of(vec![naming("{payload.t}", rule(&["#"], vec![from("a", "topic"), from("b", "payload.b")]))]);
    for (payload, reason, why) in [
        (r#"{"t":"x","b":1}"#, "no_table", "`tables` allows"),
        (r#"{"t":"a\"; drop table x; --_t","b":1}"#, "no_table", "quote"),
        (r#"{"t":"no_t","b":1}"#, "no_table", "there is no such table"),
        (r#"{"b":1}"#, "required", "`table`"),
        (r#"{"t":null,"b":1}"#, "required", "the message names no table: the rule's template has no value for it"),
        (r#"{"t":"a_t","b":"x"}"#, "value", "`b`"),
    ] {
        match world.map("t", payload) {
            Outcome::Refused(fault) => {
                assert_eq!(fault.reason, reason, "{payload}");
                assert!(fault.message.contains(why) && !fault.message.contains("drop"), "{payload}: {}", fault.message);
            }
            other => panic!("{payload}: {other:?}"),
        }
        assert_eq!(world.batch.row_count_of_all(), 0, "{payload}");
    }
    assert_eq!(*world.map("t", r#"{"t":"alias","b":1}"#), Outcome::Written);
    assert_eq!(world.last()[0].0, "meant");
    // It may be there by now.
    world.asked.clear();
    world.map("t", r#"{"t":"no_t","b":1}"#);
    assert!(world.asked.is_empty());
    world.mapper.forget_missing();
    world.map("t", r#"{"t":"no_t","b":1}"#);
    assert_eq!(world.asked, ["no_t"]);
    // What no message has met since it was looked up is not asked for again and again.
    let message = message("t", br#"{"t":"no2_t","b":1}"#);
    assert!(!world.mapper.map(&message, &mut world.batch, &mut world.outcomes));
    for want in world.mapper.take_wants() {
        world.mapper.bind(&want, Err("there is no such table".into()));
    }
    world.mapper.forget_missing();
    assert!(world.mapper.map(&message, &mut world.batch, &mut world.outcomes), "it goes on however long that took");
}

#[test]
fn each_element_may_name_its_own_table_and_all_are_one_unit() {
    let for_each = config::ForEach::Paths(vec![Source::parse("payload").unwrap()]);
    let columns = vec![from("a", "item.site"), from("b", "item.b")];
    let mut world = World::of(vec![naming("{item.site}_t", Rule { for_each, ..rule(&["#"], columns) })]);
    let payload = r#"[{"site":"n","b":1},{"site":"s","b":2},{"site":"n","b":3}]"#;
    assert_eq!(*world.map("t", payload), Outcome::Written);
    let row = |site: &str, b| (format!("{site}_t"), format!("2: Text(\"{site}\");Int({b});"));
    assert_eq!(world.last(), [row("n", 1), row("n", 3), row("s", 2)]);
    let bad = r#"[{"site":"n","b":1},{"site":"s","b":"x"}]"#;
    assert!(matches!(world.map("t", bad), Outcome::Refused(fault) if fault.message.starts_with("item 1: ")));
    assert_eq!(world.batch.units.len(), 1);
}

#[test]
fn programs_and_unmapped_fields_make_no_difference_to_a_name_from_the_topic() {
    let program = |text: &str| Some(Arc::new(crate::jq::Program::parse(text).unwrap()));
    let lines = || {
        let decoding = config::Decoding::of(config::Syntax::Csv(config::Csv::default()));
        Format::Decoded(Arc::new(decoding))
    };
    let columns = || vec![from("a", "topic"), from("b", "item.b")];
    let over = || config::ForEach::Paths(vec![Source::parse("payload.list").unwrap()]);
    let by_element = Rule {
        for_each: over(),
        shaping: config::Shaping { predicate: program(".go | not | not"), ..Default::default() },
        ..rule(&["{site}/x"], columns())
    };
    let by_line = Rule {
        format: lines(),
        shaping: config::Shaping { predicate: program("length == 2"), ..Default::default() },
        ..rule(&["{site}/x"], vec![from("a", "payload[0]"), from("b", "payload[1]")])
    };
    let strict = Rule { unmapped: config::Unmapped::Error, ..rule(&["{site}/x"], vec![from("b", "payload.b")]) };
    for (rule, payload, expected) in [
        (by_element, r#"{"go":1,"list":[{"b":1},{"b":2},{"b":3}]}"#, 3),
        (by_line, "x,1\ny,2\n", 2),
        (strict, r#"{"b":1}"#, 1),
    ] {
        let mut world = World::of(vec![naming("{topic.site}_t", rule)]);
        assert_eq!(*world.map("n/x", payload), Outcome::Written, "{payload}");
        let rows = world.last();
        assert!(rows.len() == expected && rows.iter().all(|(table, _)| table == "n_t"), "{rows:?}");
    }
}

#[test]
fn tables_that_were_not_used_for_long_are_forgotten_and_looked_up_again() {
    let mut world = World::of(vec![by_topic()]);
    for site in 0..1_500 {
        world.map(&format!("{site}/x"), r#"{"b":1}"#);
        // One that is always in use.
        world.map("busy/x", r#"{"b":1}"#);
        assert!(world.mapper.bound_count() <= 1_001);
    }
    let asked = |world: &World, name: &str| world.asked.iter().filter(|asked| *asked == name).count();
    assert_eq!((asked(&world, "busy_t"), asked(&world, "1_t")), (1, 1));
    assert_eq!(*world.map("1/x", r#"{"b":7}"#), Outcome::Written);
    assert_eq!((asked(&world, "1_t"), world.last()[0].0.as_str()), (2, "1_t"));
}

/// A backlog of other devices: their tables are looked up together, beside as many that are known.
#[test]
fn tables_that_were_looked_up_together_stay_until_their_messages_come() {
    let mut world = World::of(vec![by_topic()]);
    let topics = |sites: std::ops::Range<usize>| sites.map(|site| format!("{site}/x"));
    topics(0..1_000).for_each(|topic| assert_eq!(*world.map(&topic, r#"{"b":1}"#), Outcome::Written));
    for topic in topics(1_000..2_000) {
        world.mapper.scan(&message(&topic, br#"{"b":1}"#));
    }
    topics(1_000..2_000).for_each(|topic| assert_eq!(*world.map(&topic, r#"{"b":1}"#), Outcome::Written));
    assert_eq!(world.asked.len(), 2_000, "each is looked up once");
    assert!(world.mapper.bound_count() <= 2_000);
    world.map("one/x", r#"{"b":1}"#);
    assert!(world.mapper.bound_count() <= 1_000);
}

/// More tables than are kept at a time cannot all be known at once.
#[test]
fn a_message_that_names_more_tables_than_are_kept_is_refused_and_not_looked_up_for_ever() {
    let for_each = config::ForEach::Paths(vec![Source::parse("payload").unwrap()]);
    let columns = vec![from("a", "item"), from("b", "index")];
    let mut world = World::of(vec![naming("{item}_t", Rule { for_each, ..rule(&["#"], columns) })]);
    let names: Vec<String> = (0..1_100).map(|at| format!("\"x{at}\"")).collect();
    match world.map("t", &format!("[{}]", names.join(","))) {
        Outcome::Refused(fault) => {
            assert!(fault.reason == "no_table" && fault.message.contains("more than the 1000 tables"), "{fault:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(*world.map("t", "[\"x1\",\"x2\"]"), Outcome::Written);
}
