//! Replaces overlapping filters by filters that do not overlap.
//!
//! Many brokers send two copies of a message that two subscriptions match. Without subscription identifiers a copy
//! cannot be distinguished from a second message. So overlapping filters are replaced by the narrowest filter that
//! covers both, until no two overlap. Messages that only the wider filter matches are dropped here. The price is more
//! traffic from the broker; so a filter without any literal level, which would match everything, replaces none.

use super::filter_tree::FilterTree;
use crate::rule::TopicPattern;

/// So many overlapping filters are tried for one that can be covered together with it.
const PARTNERS_MAX: usize = 64;

/// The narrowest filter that covers both, which are not shared. `None` if it has no literal level.
pub(super) fn narrowest_cover(left: &TopicPattern, right: &TopicPattern) -> Option<TopicPattern> {
    let (left, left_open) = left.shape();
    let (right, right_open) = right.shape();
    let mut levels: Vec<&str> =
        left.iter().zip(&right).map(|(left, right)| left.filter(|_| left == right).unwrap_or("+")).collect();
    if levels.iter().all(|level| *level == "+") {
        return None;
    }
    if left_open || right_open || left.len() != right.len() {
        levels.push("#");
    }
    TopicPattern::parse(&levels.join("/")).ok()
}

/// Replaces filters that overlap, as far as that is possible. `filters` are not shared and none covers another; the same
/// is true of the answer. A cover that `is_barred` is not used.
pub(super) fn without_overlaps(filters: Vec<TopicPattern>, is_barred: &dyn Fn(&str) -> bool) -> Vec<TopicPattern> {
    let mut filters = filters;
    while let Some(fewer) = merged(&filters, is_barred) {
        filters = fewer;
    }
    filters
}

/// Covers as many pairs as overlap. `None` if there is no pair that can be covered.
fn merged(filters: &[TopicPattern], is_barred: &dyn Fn(&str) -> bool) -> Option<Vec<TopicPattern>> {
    let mut tree = FilterTree::new();
    filters.iter().enumerate().for_each(|(number, filter)| tree.insert(filter, number));
    let mut is_replaced = vec![false; filters.len()];
    let mut covers = Vec::new();
    for (number, filter) in filters.iter().enumerate() {
        if is_replaced[number] {
            continue;
        }
        let partners = tree.overlapping(filter, number).into_iter().filter(|&other| !is_replaced[other]);
        let cover = partners.take(PARTNERS_MAX).find_map(|other| {
            let cover = narrowest_cover(filter, &filters[other])?;
            (!is_barred(cover.filter())).then_some((other, cover))
        });
        if let Some((other, cover)) = cover {
            (is_replaced[number], is_replaced[other]) = (true, true);
            covers.push((number, cover));
        }
    }
    if covers.is_empty() {
        return None;
    }
    // Each cover stands where the first filter that it replaces stood.
    let left = filters.iter().enumerate().filter(|(number, _)| !is_replaced[*number]);
    covers.extend(left.map(|(number, filter)| (number, filter.clone())));
    covers.sort_by_key(|(number, _)| *number);
    Some(maximal(covers.into_iter().map(|(_, filter)| filter).collect()))
}

/// Those that no other one covers; of equals the first.
fn maximal(filters: Vec<TopicPattern>) -> Vec<TopicPattern> {
    let mut tree = FilterTree::new();
    filters.iter().enumerate().for_each(|(number, filter)| tree.insert(filter, number));
    let is_kept: Vec<bool> =
        filters.iter().enumerate().map(|(number, _)| is_maximal(&tree, &filters, number)).collect();
    filters.into_iter().zip(is_kept).filter_map(|(filter, is_kept)| is_kept.then_some(filter)).collect()
}

fn is_maximal(tree: &FilterTree<'_>, filters: &[TopicPattern], number: usize) -> bool {
    let filter = &filters[number];
    let covering = tree.covering(filter);
    !covering.into_iter().any(|other| other != number && (other < number || !filter.covers(&filters[other])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> TopicPattern {
        TopicPattern::parse(text).unwrap()
    }

    fn disjoint(filters: &[&str]) -> Vec<String> {
        let filters = filters.iter().map(|filter| parse(filter)).collect();
        without_overlaps(filters, &|_| false).iter().map(|filter| filter.filter().to_owned()).collect()
    }

    #[test]
    fn the_narrowest_cover_keeps_every_level_that_both_have() {
        for (left, right, cover) in [
            ("ov/+/x", "ov/k/+", "ov/+/+"),
            ("a/+/c", "a/b/#", "a/+/#"),
            ("a/+/#", "a/b/c", "a/+/#"),
            ("+/x/b", "a/x/+", "+/x/+"),
            ("$SYS/+/x", "$SYS/a/#", "$SYS/+/#"),
            ("a//+", "a/+/b", "a/+/+"),
        ] {
            for (left, right) in [(left, right), (right, left)] {
                assert_eq!(narrowest_cover(&parse(left), &parse(right)).unwrap().filter(), cover);
            }
        }
    }

    #[test]
    fn a_filter_without_a_literal_level_replaces_none() {
        assert_eq!(narrowest_cover(&parse("a/+"), &parse("+/b")), None);
        assert_eq!(narrowest_cover(&parse("a/#"), &parse("+/b")), None);
        assert_eq!(disjoint(&["a/+", "+/b", "x"]), ["a/+", "+/b", "x"]);
    }

    #[test]
    fn covers_are_covered_again_until_none_overlap() {
        assert_eq!(disjoint(&["ov/+/x", "other", "ov/k/+"]), ["ov/+/+", "other"]);
        assert_eq!(disjoint(&["a/b/+/x", "a/+/c/x", "a/+/+/y", "a/1/2/3"]), ["a/+/+/x", "a/+/+/y", "a/1/2/3"]);
        assert_eq!(disjoint(&["s/+/x", "s/1/+", "s/2/+", "s/3/+", "s/4/5"]), ["s/+/+"]);
    }

    #[test]
    fn a_cover_that_the_broker_will_not_have_is_not_used() {
        let filters = vec![parse("ov/+/x"), parse("ov/k/+")];
        let kept = without_overlaps(filters.clone(), &|filter| filter == "ov/+/+");
        assert_eq!(kept, filters);
    }

    #[test]
    fn ten_thousand_filters_that_overlap_one_take_one_cover() {
        let mut filters: Vec<TopicPattern> = (0..10_000).map(|n| parse(&format!("r/{n}/+"))).collect();
        filters.push(parse("r/+/x"));
        let kept = without_overlaps(filters, &|_| false);
        assert_eq!(kept.iter().map(TopicPattern::filter).collect::<Vec<_>>(), ["r/+/+"]);
    }

    proptest! {
        #[test]
        fn every_topic_is_still_brought_and_none_twice_but_where_nothing_covers_both(
            texts in prop::collection::vec("r(/(a|b|\\+)){1,3}(/#)?", 1..8),
            topics in prop::collection::vec("r(/(a|b|c)){0,4}", 20),
        ) {
            let filters: Vec<TopicPattern> = maximal(texts.iter().map(|text| parse(text)).collect());
            let kept = without_overlaps(filters.clone(), &|_| false);
            let mut captures = Vec::new();
            for topic in &topics {
                let before = filters.iter().any(|filter| filter.matches(topic, &mut captures));
                let after = kept.iter().filter(|filter| filter.matches(topic, &mut captures)).count();
                prop_assert!(after <= 1, "{topic} comes {after} times through {kept:?}");
                prop_assert!(!before || after == 1, "{topic} does not come");
            }
        }
    }
}
