//! Explains why a payload has none of the wanted values. Used only for a message that is refused for this reason.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::super::tree::{Node, PathTree};

/// So many of the wanted paths are named.
const NAMED_MAX: usize = 8;

impl PathTree {
    /// Says which paths were looked for, what the payload is instead, and which of its keys are wanted ones in another
    /// case. `root` is the source that they begin with; `json` is valid, if the payload is JSON.
    pub(in crate::mapping) fn describe_absence(&self, root: &str, json: Option<&str>) -> String {
        let what = if root == "payload" { "the payload" } else { "the element" };
        let mut wanted = Vec::new();
        self.root.name_paths(root, &mut wanted);
        // The whole is looked at for a program or for `unmapped`, and is there.
        if wanted.len() > 1 {
            wanted.retain(|path| path != root);
        }
        let further = match wanted.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            further => format!(" and {further} more"),
        };
        wanted.truncate(NAMED_MAX);
        let wanted = wanted.join(", ");
        let Some(json) = json else {
            return format!("{what} has none of the fields that the rule takes ({wanted}{further})");
        };
        let found = match json.trim_start().bytes().next() {
            Some(b'{') => match self.root.alike(root, json) {
                Some(path) => &format!("it has {path}, which differs in upper and lower case only"),
                None => "it is an object without them",
            },
            Some(b'[') => "it is an array",
            Some(b'"') => "it is a string",
            Some(b't' | b'f') => "it is a truth value",
            Some(b'n') => "it is null",
            _ => "it is a number",
        };
        format!("{what} has none of the fields that the rule takes ({wanted}{further}): {found}")
    }
}

impl Node {
    /// As the configuration writes them.
    fn name_paths(&self, path: &str, names: &mut Vec<String>) {
        if self.slot.is_some() {
            names.push(path.to_owned());
        }
        for member in &self.keys.members {
            member.node.name_paths(&format!("{path}{}", step(&member.key)), names);
        }
        for (index, node) in &self.indexes {
            node.name_paths(&format!("{path}[{index}]"), names);
        }
        for (index, node) in &self.from_end {
            node.name_paths(&format!("{path}[-{index}]"), names);
        }
    }

    /// A key of the payload that is a wanted one but for upper and lower case. It shows nothing that the configuration
    /// does not.
    fn alike(&self, path: &str, json: &str) -> Option<String> {
        let object: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
        object.into_iter().find_map(|(key, value)| {
            let path = format!("{path}{}", step(&key));
            match self.keys.find(key.as_bytes()) {
                Some(at) => self.keys.members[at].node.alike(&path, value.get()),
                None => {
                    let folded = key.to_lowercase();
                    self.keys.members.iter().any(|member| member.key.to_lowercase() == folded).then_some(path)
                }
            }
        })
    }
}

fn step(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_plain) { format!(".{key}") } else { format!("[{key:?}]") }
}

#[cfg(test)]
mod tests {
    use super::super::super::tree::Path;
    use super::*;
    use crate::rule::Step;

    fn described(paths: &[&[Step]], json: &str) -> String {
        let paths: Vec<Path> = paths.iter().map(|steps| Path::Steps(steps.to_vec())).collect();
        PathTree::compile(&paths).0.describe_absence("payload", Some(json))
    }

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn the_paths_are_named_as_the_configuration_writes_them() {
        let paths = [&[key("temp")][..], &[key("a"), key("odd key")], &[key("list"), Step::Index(-1)]];
        let expected = "the payload has none of the fields that the rule takes (payload.temp, payload.a[\"odd key\"], \
                        payload.list[-1]): it is a string";
        assert_eq!(described(&paths, "\"offline\""), expected);
        let with_whole = [&[][..], &[key("temp")]];
        assert!(described(&with_whole, "7").contains("takes (payload.temp): it is a number"));
    }

    #[test]
    fn a_key_in_another_case_is_named_at_any_depth() {
        let ends = |paths: &[&[Step]], json: &str, end: &str| {
            let text = described(paths, json);
            assert!(text.ends_with(end), "{text}");
        };
        ends(
            &[&[key("temp")]],
            r#"{"x":1,"Temp":2}"#,
            "it has payload.Temp, which differs in upper and lower case only",
        );
        ends(
            &[&[key("d"), key("temp")]],
            r#"{"d":{"TEMP":2}}"#,
            "it has payload.d.TEMP, which differs in upper and lower case only",
        );
        ends(&[&[key("temp")]], r#"{"x":"Temp"}"#, "it is an object without them");
        ends(&[&[key("temp")]], r#"[{"temp":1}]"#, "it is an array");
    }

    #[test]
    fn of_many_paths_some_are_named() {
        let names: Vec<[Step; 1]> = (0..20).map(|n| [key(&format!("k{n}"))]).collect();
        let paths: Vec<&[Step]> = names.iter().map(|name| &name[..]).collect();
        let text = described(&paths, "{}");
        assert!(text.contains("payload.k7 and 12 more") && !text.contains("k8"), "{text}");
    }
}
