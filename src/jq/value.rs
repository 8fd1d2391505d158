//! The values of a run. Each array and object knows its written size and its depth. Values share their parts, so sixty
//! steps of `[., .]` would otherwise make a value that no computer could walk.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use indexmap::{Equivalent, IndexMap};

use super::budget::{Bound, Charge, Link, budget};
use super::number::Number;

/// Bytes of one value written out, about.
const WEIGHT_MAX: u64 = 64 << 20;
/// One string: what is made of it on the way may be some times larger.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 20;
/// Arrays and objects within one another: they are compared, written and dropped by recursion.
pub(super) const NESTING_MAX: u32 = 256;
/// `.a` of null is null again, and each step of such a path is remembered.
const NULL_STEPS_MAX: u16 = 10_000;

const SCALAR_WEIGHT: u64 = 8;
/// Of an object: key, value, hash, index.
const ENTRY_BYTES: usize = 48;
const NODE_BYTES: usize = 64;

#[derive(Clone)]
pub(super) enum Value {
    /// How many steps into null led to it.
    Null(u16),
    Bool(bool),
    Number(Number),
    Text(Rc<Text>),
    Array(Rc<Array>),
    Object(Rc<Object>),
}

#[derive(Debug)]
pub(super) struct Text {
    text: String,
    charge: Charge,
}

pub(super) struct Array {
    items: Vec<Value>,
    weight: u64,
    depth: u32,
    charge: Charge,
}

pub(super) type Entries = IndexMap<Rc<Text>, Value>;

pub(super) struct Object {
    entries: Entries,
    weight: u64,
    depth: u32,
    charge: Charge,
    _link: Option<Link>,
}

/// For looking a key up.
pub(super) struct Key<'k>(pub(super) &'k str);

impl Value {
    pub(super) const NULL: Value = Value::Null(0);

    pub(super) fn text(text: impl Into<String>) -> Value {
        Value::Text(Text::new(text.into()))
    }

    pub(super) fn array(items: Vec<Value>) -> Value {
        Value::Array(Rc::new(Array::new(items)))
    }

    pub(super) fn object(entries: Entries) -> Value {
        Value::Object(Rc::new(Object::new(entries, None)))
    }

    /// A value that the interpreter hangs into a list of its own.
    pub(super) fn linked(entries: Entries) -> Value {
        Value::Object(Rc::new(Object::new(entries, Some(Link::new()))))
    }

    /// `.a` of null.
    pub(super) fn null_below(steps: u16) -> Value {
        if steps >= NULL_STEPS_MAX {
            budget(|budget| budget.end(Bound::Recursion));
        }
        Value::Null(steps.saturating_add(1))
    }

    pub(super) fn is_true(&self) -> bool {
        !matches!(self, Value::Null(_) | Value::Bool(false))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null(_) => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Value::Text(text) => text.text.len() as u64 + SCALAR_WEIGHT,
            Value::Number(Number::Digits(digits)) => digits.text.len() as u64 + SCALAR_WEIGHT,
            Value::Array(array) => array.weight,
            Value::Object(object) => object.weight,
            Value::Null(_) | Value::Bool(_) | Value::Number(_) => SCALAR_WEIGHT,
        }
    }

    fn depth(&self) -> u32 {
        match self {
            Value::Array(array) => array.depth,
            Value::Object(object) => object.depth,
            _ => 0,
        }
    }

    /// Where the kinds stand among one another.
    fn rank(&self) -> u8 {
        match self {
            Value::Null(_) => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::Text(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
        }
    }
}

impl Text {
    pub(super) fn new(text: String) -> Rc<Text> {
        let charge = Charge::new(text.capacity() + NODE_BYTES);
        if text.len() > TEXT_BYTES_MAX {
            budget(|budget| budget.end(Bound::Memory));
        }
        Rc::new(Text { text, charge })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The text with another behind it.
    pub(super) fn joined(mut text: Rc<Text>, more: &str) -> Rc<Text> {
        if text.text.len().saturating_add(more.len()) > TEXT_BYTES_MAX {
            budget(|budget| budget.end(Bound::Memory));
            return text;
        }
        let Some(own) = Rc::get_mut(&mut text) else {
            let mut joined = String::with_capacity(text.text.len() + more.len());
            joined.push_str(&text.text);
            joined.push_str(more);
            return Text::new(joined);
        };
        own.text.push_str(more);
        own.charge.set(own.text.capacity() + NODE_BYTES);
        text
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.text == other.text
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Rc<Text>> for Key<'_> {
    fn equivalent(&self, key: &Rc<Text>) -> bool {
        self.0 == key.text
    }
}

/// The weight and depth of what holds this, checked.
fn checked(weight: u64, depth: u32) -> (u64, u32) {
    if weight > WEIGHT_MAX {
        budget(|budget| budget.end(Bound::Memory));
    }
    if depth > NESTING_MAX {
        budget(|budget| budget.end(Bound::Nesting));
    }
    (weight, depth)
}

impl Array {
    pub(super) fn new(items: Vec<Value>) -> Array {
        let weight = items.iter().fold(SCALAR_WEIGHT, |sum, item| sum.saturating_add(item.weight()));
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        let (weight, depth) = checked(weight, depth);
        let charge = Charge::new(NODE_BYTES + items.capacity() * size_of::<Value>());
        Array { items, weight, depth, charge }
    }

    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }

    pub(super) fn into_items(self) -> Vec<Value> {
        self.items
    }

    /// Takes the element out to be changed; [`Array::put`] or [`Array::remove`] follows.
    pub(super) fn take(&mut self, index: usize) -> Value {
        let item = std::mem::replace(&mut self.items[index], Value::NULL);
        self.weight = self.weight.saturating_sub(item.weight()) + SCALAR_WEIGHT;
        item
    }

    pub(super) fn put(&mut self, index: usize, item: Value) {
        let weight = self.weight.saturating_add(item.weight()).saturating_sub(SCALAR_WEIGHT);
        (self.weight, self.depth) = checked(weight, self.depth.max(item.depth() + 1));
        self.items[index] = item;
    }

    pub(super) fn remove(&mut self, index: usize) {
        let item = self.items.remove(index);
        self.weight = self.weight.saturating_sub(item.weight());
    }

    pub(super) fn extend(&mut self, more: &[Value]) {
        self.items.extend_from_slice(more);
        let weight = more.iter().fold(self.weight, |sum, item| sum.saturating_add(item.weight()));
        let depth = more.iter().map(|item| item.depth() + 1).max().unwrap_or(0);
        (self.weight, self.depth) = checked(weight, self.depth.max(depth));
        self.charge.set(NODE_BYTES + self.items.capacity() * size_of::<Value>());
    }
}

impl Clone for Array {
    fn clone(&self) -> Array {
        let items = self.items.clone();
        let charge = Charge::new(NODE_BYTES + items.capacity() * size_of::<Value>());
        Array { items, weight: self.weight, depth: self.depth, charge }
    }
}

fn entry_weight(key: &Text, value: &Value) -> u64 {
    (key.text.len() as u64 + SCALAR_WEIGHT).saturating_add(value.weight())
}

impl Object {
    fn new(entries: Entries, link: Option<Link>) -> Object {
        let add = |sum: u64, (key, value): (&Rc<Text>, &Value)| sum.saturating_add(entry_weight(key, value));
        let weight = entries.iter().fold(SCALAR_WEIGHT, add);
        let depth = 1 + entries.values().map(Value::depth).max().unwrap_or(0);
        let (weight, depth) = checked(weight, depth);
        let charge = Charge::new(NODE_BYTES + entries.capacity() * ENTRY_BYTES);
        Object { entries, weight, depth, charge, _link: link }
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn into_entries(self) -> Entries {
        self.entries
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(&Key(key))
    }

    pub(super) fn insert(&mut self, key: Rc<Text>, value: Value) {
        let (new, depth) = (entry_weight(&key, &value), value.depth() + 1);
        let old = self.entries.get(&key).map_or(0, |old| entry_weight(&key, old));
        self.entries.insert(key, value);
        let weight = self.weight.saturating_sub(old).saturating_add(new);
        (self.weight, self.depth) = checked(weight, self.depth.max(depth));
        self.charge.set(NODE_BYTES + self.entries.capacity() * ENTRY_BYTES);
    }

    /// Takes the value under a key out to be changed, leaving null; [`Object::insert`] or [`Object::remove`] follows.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let value = std::mem::replace(self.entries.get_mut(&Key(key))?, Value::NULL);
        self.weight = self.weight.saturating_sub(value.weight()) + SCALAR_WEIGHT;
        Some(value)
    }

    /// In constant time, at the price of changing the order of the rest, as in jaq.
    pub(super) fn remove(&mut self, key: &str) {
        if let Some((key, value)) = self.entries.swap_remove_entry(&Key(key)) {
            self.weight = self.weight.saturating_sub(entry_weight(&key, &value));
        }
    }
}

impl Clone for Object {
    fn clone(&self) -> Object {
        let entries = self.entries.clone();
        let charge = Charge::new(NODE_BYTES + entries.capacity() * ENTRY_BYTES);
        Object { entries, weight: self.weight, depth: self.depth, charge, _link: None }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null(_), Value::Null(_)) => true,
            (Value::Bool(l), Value::Bool(r)) => l == r,
            (Value::Number(l), Value::Number(r)) => l == r,
            (Value::Text(l), Value::Text(r)) => l == r,
            (Value::Array(l), Value::Array(r)) => l.items == r.items,
            (Value::Object(l), Value::Object(r)) => l.entries == r.entries,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// jq's order: null, false, true, numbers, strings, arrays, objects.
impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(l), Value::Bool(r)) => l.cmp(r),
            (Value::Number(l), Value::Number(r)) => l.cmp(r),
            (Value::Text(l), Value::Text(r)) => l.cmp(r),
            (Value::Array(l), Value::Array(r)) => l.items.cmp(&r.items),
            (Value::Object(l), Value::Object(r)) => compare_objects(l, r),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// First the sorted keys, then the values in their order.
fn compare_objects(l: &Object, r: &Object) -> Ordering {
    let sorted = |object: &Object| {
        let mut entries: Vec<_> = object.entries.iter().map(|(key, value)| (Rc::clone(key), value.clone())).collect();
        entries.sort_by(|(l, _), (r, _)| l.cmp(r));
        entries
    };
    let (l, r) = (sorted(l), sorted(r));
    let keys = l.iter().map(|(key, _)| key).cmp(r.iter().map(|(key, _)| key));
    keys.then_with(|| l.iter().map(|(_, value)| value).cmp(r.iter().map(|(_, value)| value)))
}

/// JSON; in messages, the kind of value in its place.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match budget(|budget| budget.shows_kinds()) {
            true => f.write_str(self.kind()),
            false => super::write::value(self, f),
        }
    }
}
