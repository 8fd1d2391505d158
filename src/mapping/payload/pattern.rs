//! Text matched by a regular expression: its named groups are the values, as strings. A group that took no part in
//! the match is missing. Matching takes time linear in the text.

use super::ndjson::lines;
use super::picked::Picked;
use super::tree::{Node, PathTree};
use super::{Each, PayloadFault};
use crate::config::Pattern;

pub(super) fn documents<E: From<PayloadFault>>(
    pattern: &Pattern,
    text: &str,
    tree: &PathTree,
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    let matcher = Matcher::new(pattern, tree);
    if !pattern.each_line {
        matcher.read(text, None, picked)?;
        return each(picked.document(None));
    }
    let mut is_empty = true;
    for (number, line) in lines(text) {
        is_empty = false;
        matcher.read(line, Some(number), picked)?;
        each(picked.document(Some(number)))?;
    }
    if is_empty { Err(PayloadFault::empty().into()) } else { Ok(()) }
}

struct Matcher<'m> {
    pattern: &'m Pattern,
    tree: &'m PathTree,
    /// The wanted groups.
    groups: Vec<(usize, &'m Node)>,
}

impl<'m> Matcher<'m> {
    fn new(pattern: &'m Pattern, tree: &'m PathTree) -> Matcher<'m> {
        let names = pattern.regex.capture_names().enumerate();
        let wanted = |(group, name): (usize, Option<&str>)| Some((group, tree.root.member(name?.as_bytes(), &mut 0)?));
        Matcher { pattern, tree, groups: names.filter_map(wanted).collect() }
    }

    fn read(&self, text: &str, line: Option<usize>, picked: &mut Picked) -> Result<(), PayloadFault> {
        let mut places = self.pattern.regex.capture_locations();
        if self.pattern.regex.captures_read(&mut places, text).is_none() {
            let what = "does not match the rule's `regex`";
            return Err(PayloadFault::parse(match line {
                Some(number) => format!("line {number} {what}"),
                None => format!("the payload {what}"),
            }));
        }
        let group = |group: usize| places.get(group).map(|(start, end)| &text[start..end]);
        picked.begin(self.tree);
        let root = &self.tree.root;
        if root.slot.is_some() {
            return picked.whole(root, |picked| {
                picked.text.push('{');
                for (index, name) in self.pattern.regex.capture_names().enumerate() {
                    if let (Some(name), Some(value)) = (name, group(index)) {
                        picked.push_key(name);
                        picked.push_string(value);
                    }
                }
                picked.text.push('}');
                Ok(())
            });
        }
        for (index, node) in &self.groups {
            if let Some(value) = group(*index) {
                picked.scalar::<PayloadFault>(node, |picked| {
                    picked.push_string(value);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}
