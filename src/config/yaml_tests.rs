use proptest::prelude::*;

use super::*;
use crate::config::tree;
use crate::config::yaml_core::Core;

/// The tree as one of structs, to look at.
#[derive(Debug, PartialEq)]
struct Node {
    kind: Kind,
    position: Position,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug, PartialEq)]
struct Scalar {
    text: String,
    core: Core,
}

#[derive(Debug, PartialEq)]
struct Entry {
    key: String,
    key_position: Position,
    value: Node,
}

fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let (tree, faults) = super::parse(text);
    (tree.as_ref().and_then(tree::Tree::root).map(Node::of), faults)
}

impl Node {
    fn of(node: tree::Node<'_>) -> Node {
        let entry = |entry: tree::Entry<'_>| Entry {
            key: entry.key.to_owned(),
            key_position: entry.key_position,
            value: Node::of(entry.value),
        };
        let kind = match node.kind() {
            tree::Kind::Scalar(core) => Kind::Scalar(Scalar { text: node.text().to_owned(), core }),
            tree::Kind::Sequence(items) => Kind::Sequence(items.map(Node::of).collect()),
            tree::Kind::Mapping(entries) => Kind::Mapping(entries.map(entry).collect()),
        };
        Node { kind, position: node.position() }
    }
}

fn tree(text: &str) -> Node {
    let (node, faults) = parse(text);
    assert_eq!(faults, []);
    node.expect("a document")
}

fn faults(text: &str) -> Vec<(usize, usize, String)> {
    parse(text).1.into_iter().map(|fault| (fault.position.line, fault.position.column, fault.problem)).collect()
}

fn entries(node: &Node) -> &[Entry] {
    match &node.kind {
        Kind::Mapping(entries) => entries,
        other => panic!("not a mapping: {other:?}"),
    }
}

fn get<'a>(node: &'a Node, key: &str) -> &'a Node {
    &entries(node).iter().find(|entry| entry.key == key).expect("the key").value
}

fn text(node: &Node) -> &str {
    match &node.kind {
        Kind::Scalar(scalar) => &scalar.text,
        other => panic!("not a scalar: {other:?}"),
    }
}

#[test]
fn keys_and_values_know_their_place() {
    let root = tree("a: 1\nb:\n  c: [x, \"y\"]\n");
    assert_eq!(entries(&root)[1].key_position, Position { line: 2, column: 1 });
    let c = get(get(&root, "b"), "c");
    assert_eq!(c.position, Position { line: 3, column: 6 });
    let Kind::Sequence(items) = &c.kind else { panic!("not a list") };
    assert_eq!(items[1].position, Position { line: 3, column: 10 });
}

#[test]
fn a_quoted_number_is_text() {
    let root = tree("a: '12'");
    let Kind::Scalar(quoted) = &get(&root, "a").kind else { panic!("not a scalar") };
    assert_eq!(quoted.core, Core::Text);
}

#[test]
fn a_key_given_twice_is_told_with_the_first_place_and_the_first_value_stays() {
    let (node, faults) = parse("a: 1\nb: 2\na: 3\n");
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].position, Position { line: 3, column: 1 });
    assert_eq!(faults[0].problem, "the key `a` was given before, at 1:1");
    assert_eq!(text(get(&node.expect("a tree"), "a")), "1");
}

#[test]
fn a_syntax_error_has_a_place() {
    let faults = faults("a: [1, 2\nb: 3\n");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].0 >= 1 && faults[0].2.starts_with("not YAML: "), "{faults:?}");
    let tab = self::faults("a:\n\tb: 1\n");
    assert_eq!(tab[0].0, 2, "{tab:?}");
}

#[test]
fn aliases_and_merge_keys_repeat_values() {
    let root = tree("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x\nw: {<<: [*x, {c: 4}]}\n");
    assert_eq!(text(get(get(&root, "y"), "a")), "1");
    assert_eq!(text(get(get(&root, "y"), "b")), "3");
    assert_eq!(text(get(get(&root, "z"), "b")), "2");
    assert_eq!(text(get(get(&root, "w"), "c")), "4");
}

/// Few keys are looked through, many are hashed.
#[test]
fn a_key_given_twice_is_found_among_many_and_among_merged_ones() {
    let keys: String = (0..40).map(|number| format!("  k{number}: {number}\n")).collect();
    let (node, faults) =
        parse(&format!("a: &a\n{keys}  k3: again\n  k39: again\nb:\n  <<: *a\n  k5: own\n  k99: own\n"));
    let problems: Vec<&str> = faults.iter().map(|fault| fault.problem.as_str()).collect();
    assert_eq!(
        problems,
        ["the key `k3` was given before, at 5:3", "the key `k39` was given before, at 41:3"],
        "{faults:?}"
    );
    let root = node.expect("a tree");
    let merged = get(&root, "b");
    assert_eq!(entries(merged).len(), 41);
    for (key, value) in [("k5", "own"), ("k99", "own"), ("k3", "3"), ("k39", "39")] {
        assert_eq!(text(get(merged, key)), value, "{key}");
    }
    assert_eq!(text(get(get(&root, "a"), "k39")), "39");
}

#[test]
fn a_list_and_a_long_key_leave_an_empty_key_and_go_on() {
    let (node, faults) = parse(&format!("[a, b]: 1\n{}: 2\nc: 3\n", "x".repeat(1001)));
    assert_eq!(faults.len(), 3, "{faults:?}");
    let root = node.expect("a tree");
    assert_eq!(entries(&root).iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["", "c"]);
    assert_eq!(text(get(&root, "c")), "3");
}

#[test]
fn a_merge_of_something_else_is_a_fault() {
    assert_eq!(faults("a: {<<: 5}")[0].0, 1);
}

#[test]
fn an_alias_bomb_ends_in_a_fault() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
    }
    assert!(faults(&bomb)[0].2.contains("more than"), "{:?}", faults(&bomb));
}

#[test]
fn ten_thousand_rules_of_a_dozen_columns_are_not_too_many_values() {
    let column = "{ from: payload.value, type: double }";
    let columns: String = (0..12).map(|number| format!("    c{number}: {column}\n")).collect();
    let rules: String = (0..10_000).map(|n| format!("- topic: t/{n}\n  table: t\n  columns:\n{columns}")).collect();
    assert!(faults(&rules).is_empty());
}

#[test]
fn deep_nesting_ends_in_a_fault_also_through_aliases() {
    assert!(faults(&"- ".repeat(1000))[0].2.contains("levels deep"));
    assert_eq!(faults(&"[".repeat(10_000)).len(), 1);
    let mut chain = "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n".to_owned();
    for level in 1..20 {
        chain += &format!("a{level}: &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1);
    }
    assert!(faults(&chain)[0].2.contains("levels deep"));
}

#[test]
fn an_alias_inside_its_own_anchor_and_an_unknown_alias_are_faults() {
    assert_eq!(faults("a: &a [*a]").len(), 1);
    assert_eq!(faults("a: *nobody").len(), 1);
}

#[test]
fn tags_second_documents_and_collections_as_keys_are_faults() {
    assert_eq!(
        faults("a: !secret x")[0],
        (1, 4, "the tag `!secret` means nothing here; write the value without it".to_owned())
    );
    assert!(faults("a: 1\n---\nb: 2\n")[0].2.contains("second YAML document"));
    assert_eq!(faults("[a, b]: 1")[0].0, 1);
    let root = tree("a: !!str 5");
    let Kind::Scalar(scalar) = &get(&root, "a").kind else { panic!("not a scalar") };
    assert_eq!(scalar.core, Core::Text);
}

#[test]
fn an_empty_document_is_no_tree_and_no_fault() {
    for text in ["", "# only a comment\n", "\n\n"] {
        assert_eq!(parse(text), (None, vec![]), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[-a-z0-9:{}\\[\\], \\n\\t'\"&*#|>!%@`?<~.]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_unicode_makes_the_reader_panic(text in "\\PC{0,80}") {
        let _ = parse(&text);
    }
}
