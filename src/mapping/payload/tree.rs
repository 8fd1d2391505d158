//! The wanted paths of a rule as one tree. Every format walks its payload along this tree.

use std::collections::BTreeSet;

use crate::rule::Step;

/// Where a wanted value stands in the payload; `None` if it is not there.
pub(in crate::mapping) type Slot = Option<(u32, u32)>;

/// Up to this many keys are compared one by one; more are searched by halves.
pub(super) const KEYS_COMPARED_MAX: usize = 12;

/// The wanted paths as a tree.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::mapping) struct PathTree {
    pub(super) root: Node,
    pub(super) slot_count: usize,
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// The value itself is wanted.
    pub(super) slot: Option<usize>,
    /// Slots of this node and everything below it.
    pub(super) slots: std::ops::Range<usize>,
    pub(super) keys: Keys,
    /// Keys that match without regard to case, if none matches as it is.
    pub(super) folded: Vec<(String, Node)>,
    /// Sorted by index.
    pub(super) indexes: Vec<(u32, Node)>,
    /// Indexes counted from the end: 1 is the last element.
    pub(super) from_end: Vec<(u32, Node)>,
}

/// The wanted keys of an object.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Keys {
    /// In the order of the rule. Devices send the same keys in the same order, and rules follow that order, so after
    /// one member the next is likely.
    pub(super) members: Vec<Member>,
    /// Indexes into `members`, sorted by key.
    sorted: Vec<usize>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) written: Written,
    pub(super) node: Node,
}

/// A key that matches in any case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::mapping) struct FoldedKey {
    pub(in crate::mapping) name: String,
    /// The slot of the field with exactly this name, which takes precedence.
    pub(in crate::mapping) exact: Option<usize>,
    /// The slot of a field in another case.
    pub(in crate::mapping) slot: usize,
}

/// A key with its quotes and colon, as most devices write it: `"key":`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Written {
    pub(super) text: String,
    /// Its first eight bytes, or all of them and zeros.
    head: u64,
    /// The bits of `head` that are bytes of the text.
    mask: u64,
}

/// One wanted path.
#[derive(Debug, Clone)]
pub(in crate::mapping) enum Path {
    Steps(Vec<Step>),
    /// A key of the outermost object, without regard to ASCII case. Never takes a value that an exact key takes.
    Folded(String),
}

impl PathTree {
    /// The tree and, for each path, its slot. Equal paths share one.
    pub(in crate::mapping) fn compile(paths: &[Path]) -> (PathTree, Vec<usize>) {
        let mut root = Node::default();
        for path in paths {
            root.place(path);
        }
        let mut slot_count = 0;
        root.number(&mut slot_count);
        let slots = paths.iter().map(|path| root.place(path).slot.expect("every placed path has a slot")).collect();
        (PathTree { root, slot_count }, slots)
    }
}

impl Path {
    /// The key that it begins with, as it is written.
    pub(in crate::mapping) fn first_key(&self) -> Option<&str> {
        match self {
            Path::Steps(steps) => match steps.first()? {
                Step::Key(key) => Some(key),
                Step::Index(_) => None,
            },
            Path::Folded(_) => None,
        }
    }
}

impl PathTree {
    pub(in crate::mapping) fn slot_count(&self) -> usize {
        self.slot_count
    }

    /// The keys of the outermost object at which these paths of it begin, sorted; and those that match in any case.
    pub(in crate::mapping) fn first_keys(&self, paths: &[Path]) -> (Box<[String]>, Box<[FoldedKey]>) {
        let keys = &self.root.keys;
        let exact: BTreeSet<&str> = paths.iter().filter_map(Path::first_key).collect();
        let exact = exact.into_iter().map(str::to_owned).collect();
        let folded = |(name, node): &(String, Node)| FoldedKey {
            name: name.clone(),
            exact: keys.find(name.as_bytes()).and_then(|at| keys.members[at].node.slot),
            slot: node.slot.expect("every folded key is wanted"),
        };
        (exact, self.root.folded.iter().map(folded).collect())
    }
}

impl Node {
    /// The node of a path, made if need be.
    fn place(&mut self, path: &Path) -> &mut Node {
        let node = match path {
            Path::Folded(key) => entry(&mut self.folded, key.clone()),
            Path::Steps(steps) => steps.iter().fold(self, |node, step| match step {
                Step::Key(key) => node.keys.entry(key),
                Step::Index(index) if *index < 0 => entry(&mut node.from_end, index.unsigned_abs()),
                Step::Index(index) => entry(&mut node.indexes, index.unsigned_abs()),
            }),
        };
        node.slot.get_or_insert(usize::MAX);
        node
    }

    /// Numbers the slots so that those of a subtree are neighbours.
    fn number(&mut self, next: &mut usize) {
        let first = *next;
        if let Some(slot) = &mut self.slot {
            *slot = *next;
            *next += 1;
        }
        self.keys.members.iter_mut().for_each(|member| member.node.number(next));
        self.folded.iter_mut().for_each(|(_, node)| node.number(next));
        self.indexes.iter_mut().chain(&mut self.from_end).for_each(|(_, node)| node.number(next));
        self.slots = first..*next;
    }

    /// The node under a key of an object. `likely` becomes the index of the member that is likely next.
    pub(super) fn member(&self, key: &[u8], likely: &mut usize) -> Option<&Node> {
        if let Some(member) = self.keys.members.get(*likely)
            && member.key.as_bytes() == key
        {
            *likely += 1;
            return Some(&member.node);
        }
        if let Some(at) = self.keys.find(key) {
            *likely = at + 1;
            return Some(&self.keys.members[at].node);
        }
        let is_folded = |known: &str| known.as_bytes().eq_ignore_ascii_case(key);
        self.folded.iter().find(|(known, _)| is_folded(known)).map(|(_, node)| node)
    }

    pub(super) fn has_parts(&self) -> bool {
        self.slots.len() > usize::from(self.slot.is_some())
    }
}

impl Written {
    pub(super) fn of(key: &str) -> Written {
        let text = format!("{}:", serde_json::Value::from(key));
        let word = |byte_at: &dyn Fn(usize) -> u8| u64::from_le_bytes(std::array::from_fn(byte_at));
        let head = word(&|at| text.as_bytes().get(at).copied().unwrap_or(0));
        let mask = word(&|at| if at < text.len() { u8::MAX } else { 0 });
        Written { text, head, mask }
    }

    /// Whether `bytes` begin with it; most keys are told by one comparison.
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk() {
            Some(eight) if (u64::from_le_bytes(*eight) ^ self.head) & self.mask != 0 => false,
            Some(eight) if self.text.len() <= eight.len() => true,
            _ => bytes.starts_with(self.text.as_bytes()),
        }
    }
}

impl Keys {
    /// The node under `key`, made if need be.
    fn entry(&mut self, key: &str) -> &mut Node {
        let at = match self.sorted_at(key.as_bytes()) {
            Ok(at) => self.sorted[at],
            Err(at) => {
                let written = Written::of(key);
                self.sorted.insert(at, self.members.len());
                self.members.push(Member { key: key.to_owned(), written, node: Node::default() });
                self.members.len() - 1
            }
        };
        &mut self.members[at].node
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        if self.members.len() <= KEYS_COMPARED_MAX {
            // The first byte tells most keys apart.
            let is_it = |known: &[u8]| known.len() == key.len() && known.first() == key.first() && known == key;
            return self.members.iter().position(|member| is_it(member.key.as_bytes()));
        }
        self.sorted_at(key).ok().map(|at| self.sorted[at])
    }

    fn sorted_at(&self, key: &[u8]) -> Result<usize, usize> {
        self.sorted.binary_search_by(|at| self.members[*at].key.as_bytes().cmp(key))
    }
}

/// The node under `key` in a list sorted by key.
fn entry<K: Ord>(children: &mut Vec<(K, Node)>, key: K) -> &mut Node {
    let at = match children.binary_search_by(|(known, _)| known.cmp(&key)) {
        Ok(at) => at,
        Err(at) => {
            children.insert(at, (key, Node::default()));
            at
        }
    };
    &mut children[at].1
}
