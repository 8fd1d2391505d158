//! Topic filters as a tree of levels, to find those that cover or overlap one without comparing it with each.
//!
//! A lookup follows only the branches that can still match. For thousands of filters that differ in a literal level it
//! takes as many steps as the filter has levels. The results equal those of [`TopicPattern::covers`] (with separate
//! share groups) and [`TopicPattern::overlaps`]. Walks keep their own stack, because a filter may have thousands of
//! levels.

use std::collections::HashMap;

use crate::rule::TopicPattern;

/// Filters, each under a number of the caller's.
pub(super) struct FilterTree<'a> {
    /// The root first.
    nodes: Vec<Node<'a>>,
}

/// What follows after the levels that lead here.
#[derive(Default)]
struct Node<'a> {
    literals: HashMap<&'a str, usize>,
    /// `+` or a capture.
    any: Option<usize>,
    /// The filters that end here.
    closed: Vec<usize>,
    /// The filters that go on with `#`.
    open: Vec<usize>,
}

const ROOT: usize = 0;

impl<'a> FilterTree<'a> {
    pub(super) fn new() -> FilterTree<'a> {
        FilterTree { nodes: vec![Node::default()] }
    }

    pub(super) fn insert(&mut self, pattern: &'a TopicPattern, number: usize) {
        let (levels, is_open) = pattern.shape();
        let mut at = ROOT;
        for level in levels {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match level {
                Some(literal) => *node.literals.entry(literal).or_insert(next),
                None => *node.any.get_or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let node = &mut self.nodes[at];
        if is_open { node.open.push(number) } else { node.closed.push(number) }
    }

    /// The filters that cover `pattern`, itself included if it is in the tree; in no order.
    pub(super) fn covering(&self, pattern: &TopicPattern) -> Vec<usize> {
        let (levels, is_open) = pattern.shape();
        let mut covering = Vec::new();
        let mut unvisited = vec![(ROOT, 0)];
        while let Some((at, depth)) = unvisited.pop() {
            let node = &self.nodes[at];
            covering.extend_from_slice(&node.open);
            match levels.get(depth) {
                None if is_open => {}
                None => covering.extend_from_slice(&node.closed),
                Some(level) => {
                    let literal = level.and_then(|literal| node.literals.get(literal));
                    let any = node.any.as_ref().filter(|_| depth > 0 || !is_hidden(*level));
                    unvisited.extend(literal.into_iter().chain(any).map(|&next| (next, depth + 1)));
                }
            }
        }
        covering
    }

    /// Whether a filter other than `number` matches some topic that `pattern` matches too.
    pub(super) fn overlaps_another(&self, pattern: &TopicPattern, number: usize) -> bool {
        self.visit_overlapping(pattern, |numbers| numbers.iter().any(|&other| other != number))
    }

    /// The filters other than `number` that match some topic which `pattern` matches too; in their order.
    pub(super) fn overlapping(&self, pattern: &TopicPattern, number: usize) -> Vec<usize> {
        let mut overlapping = Vec::new();
        self.visit_overlapping(pattern, |numbers| {
            overlapping.extend(numbers.iter().filter(|&&other| other != number));
            false
        });
        overlapping.sort_unstable();
        overlapping
    }

    /// Calls `visit` with all filters that match some topic which `pattern` matches too, until it returns true.
    fn visit_overlapping(&self, pattern: &TopicPattern, mut visit: impl FnMut(&[usize]) -> bool) -> bool {
        let (levels, is_open) = pattern.shape();
        let mut unvisited = vec![(ROOT, 0)];
        while let Some((at, depth)) = unvisited.pop() {
            let node = &self.nodes[at];
            if (is_open || depth <= levels.len()) && visit(&node.open) || depth >= levels.len() && visit(&node.closed) {
                return true;
            }
            let any = node.any.filter(|_| depth > 0 || !levels.first().is_some_and(|first| is_hidden(*first)));
            match levels.get(depth) {
                Some(Some(literal)) => unvisited.extend(node.literals.get(literal).map(|&next| (next, depth + 1))),
                None if !is_open => continue,
                // Any level, or whatever follows: all the literals, but a leading wildcard takes no `$` topic.
                Some(None) | None => {
                    let open_to = |literal: &&str| depth > 0 || !is_hidden(Some(*literal));
                    let literals = node.literals.iter().filter(|(literal, _)| open_to(literal));
                    unvisited.extend(literals.map(|(_, &next)| (next, depth + 1)));
                }
            }
            unvisited.extend(any.map(|next| (next, depth + 1)));
        }
        false
    }
}

/// Whether a wildcard at the beginning of a filter passes over this first level.
fn is_hidden(level: Option<&str>) -> bool {
    level.is_some_and(|literal| literal.starts_with('$'))
}
