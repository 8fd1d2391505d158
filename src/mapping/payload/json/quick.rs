//! The usual walk through a payload: byte by byte along the tree of wanted paths.
//!
//! It accepts what serde_json accepts, finds the same values as [`super::careful`], and costs a fraction of it. For
//! every payload that it does not judge it returns `None`: everything that is not JSON, so that serde_json finds the
//! fault and its position, and deep nesting outside the paths. The slots are then invalid.
//!
//! This parser accepts any byte after a number, word or string; the caller checks that a comma or bracket follows.

use super::super::tree::{Node, Slot};
use super::elements::{EachElement, Element};
use super::is_json_space;
use crate::mapping::value::Value;

/// Nesting in what is skipped: the kinds of the open brackets are bits of one word. Sensors nest three or four deep.
const SKIPPED_DEPTH_MAX: u32 = u64::BITS;

/// Bytes of a string after which it is taken for a long one.
const SHORT_TEXT: usize = 32;

/// Finds the wanted values of `text`; `slots` are empty before.
pub(super) fn walk(text: &str, root: &Node, slots: &mut [Slot]) -> Option<()> {
    let mut walk = Walk { text, bytes: text.as_bytes(), at: 0, slots };
    walk.value(root)?;
    let rest = &walk.bytes[walk.at..];
    rest.iter().all(|byte| is_json_space(*byte)).then_some(())
}

/// Finds the wanted values of the value that begins at `start`, which a path may lead to itself.
pub(super) fn walk_part(text: &str, start: usize, node: &Node, slots: &mut [Slot]) -> Option<()> {
    Walk { text, bytes: text.as_bytes(), at: start, slots }.value(node)
}

/// Calls `each` with every element of the array or object that begins `part`. Returns `None` if it gives up, after
/// those calls.
pub(super) fn elements<E>(
    text: &str,
    part: std::ops::Range<usize>,
    node: &Node,
    slots: &mut [Slot],
    each: &mut EachElement<'_, E>,
) -> Option<Result<(), E>> {
    let text = &text[..part.end];
    let mut walk = Walk { text, bytes: text.as_bytes(), at: part.start, slots };
    let (mut index, mut failed) = (0, None);
    let mut visit = |walk: &mut Walk<'_>, key| {
        walk.skip_space()?;
        let start = walk.at;
        walk.slots.fill(None);
        walk.value(node)?;
        let element = Element { index, key, range: start..walk.at };
        index += 1;
        each(&element, walk.slots).map_err(|error| failed = Some(error)).ok()
    };
    let passed = match walk.skip_space()? {
        b'[' => walk.elements(|walk| visit(walk, None)),
        b'{' => walk.entries(|walk, key| visit(walk, Some(Value::JsonString(&text[key])))),
        _ => None,
    };
    match failed {
        Some(error) => Some(Err(error)),
        None => passed.map(Ok),
    }
}

struct Walk<'w> {
    text: &'w str,
    bytes: &'w [u8],
    /// The next byte.
    at: usize,
    slots: &'w mut [Slot],
}

impl Walk<'_> {
    /// Takes a value that a path leads to.
    #[inline(always)]
    fn value(&mut self, node: &Node) -> Option<()> {
        let first = self.skip_space()?;
        let start = self.at;
        if node.has_parts() {
            self.parts(node, first)?
        } else {
            self.skip(first)?
        }
        if let Some(slot) = node.slot {
            // A payload is at most 256 MiB (MQTT), so its positions fit 32 bits.
            self.slots[slot] = Some((start as u32, self.at as u32));
        }
        Some(())
    }

    #[inline(never)]
    fn parts(&mut self, node: &Node, first: u8) -> Option<()> {
        // Of equal keys the last one wins, and the parts of the ones before are no parts of it.
        self.slots[node.slots.clone()].fill(None);
        match first {
            b'{' => self.object(node),
            b'[' if node.from_end.is_empty() => self.array(node),
            b'[' => self.array_from_end(node),
            // A scalar where parts are expected: the parts are missing.
            _ => self.skip(first),
        }
    }

    fn object(&mut self, node: &Node) -> Option<()> {
        self.at += 1;
        if self.skip_space()? == b'}' {
            self.at += 1;
            return Some(());
        }
        let mut likely = 0;
        loop {
            if let Some(child) = self.likely_member(node, likely) {
                likely += 1;
                self.value(child)?;
            } else if let Some(child) = self.member(node, &mut likely)? {
                self.value(child)?;
            } else {
                self.skip_value()?;
            }
            if !self.goes_on(b'}')? {
                return Some(());
            }
            self.skip_space()?;
        }
    }

    /// Passes the key that is likely next and its colon, if they stand here as most devices write them.
    fn likely_member<'n>(&mut self, node: &'n Node, likely: usize) -> Option<&'n Node> {
        let member = node.keys.members.get(likely)?;
        member.written.begins(&self.bytes[self.at..]).then(|| {
            self.at += member.written.text.len();
            &member.node
        })
    }

    /// Passes a key and its colon; the node that it leads to, if any.
    fn member<'n>(&mut self, node: &'n Node, likely: &mut usize) -> Option<Option<&'n Node>> {
        let start = self.at;
        let child = if self.key()? {
            node.member(&self.bytes[start + 1..self.at - 1], likely)
        } else {
            let key: String = serde_json::from_str(&self.text[start..self.at]).ok()?;
            node.member(key.as_bytes(), likely)
        };
        self.colon()?;
        Some(child)
    }

    fn array(&mut self, node: &Node) -> Option<()> {
        let mut wanted = node.indexes.iter().peekable();
        let mut index = 0;
        self.elements(|walk| {
            let child = wanted.next_if(|(at, _)| *at == index);
            index += 1;
            match child {
                Some((_, child)) => walk.value(child),
                None => walk.skip_value(),
            }
        })
    }

    /// Looks at the wanted elements a second time, when it is known how many there are.
    fn array_from_end(&mut self, node: &Node) -> Option<()> {
        let mut starts = Vec::new();
        self.elements(|walk| {
            starts.push(walk.at);
            walk.skip_value()
        })?;
        let end = self.at;
        let forward = node.indexes.iter().map(|(index, child)| (Some(*index as usize), child));
        let backward = node.from_end.iter().map(|(index, child)| (starts.len().checked_sub(*index as usize), child));
        for (index, child) in forward.chain(backward) {
            if let Some(start) = index.and_then(|index| starts.get(index)) {
                self.at = *start;
                self.value(child)?;
            }
        }
        self.at = end;
        Some(())
    }

    /// Passes an array, each element with `pass`.
    fn elements(&mut self, mut pass: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.skip_space()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            pass(self)?;
            if !self.goes_on(b']')? {
                return Some(());
            }
        }
    }

    /// Passes an object, each value with `pass`, which gets the range of its key.
    fn entries(&mut self, mut pass: impl FnMut(&mut Self, std::ops::Range<usize>) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.skip_space()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.skip_space()?;
            let start = self.at;
            self.key()?;
            let key = start..self.at;
            self.colon()?;
            pass(self, key)?;
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        let first = self.skip_space()?;
        self.skip(first)
    }

    /// Passes a value that begins with `first`.
    #[inline(always)]
    fn skip(&mut self, first: u8) -> Option<()> {
        match first {
            b'{' | b'[' => self.skip_nested(),
            _ => self.skip_flat(first),
        }
    }

    /// Passes an object or array without recursion.
    #[inline(never)]
    fn skip_nested(&mut self) -> Option<()> {
        // The innermost open bracket is the lowest bit: 1 for an object.
        let (mut kinds, mut depth) = (0u64, 0);
        let close = |kinds: u64| if kinds & 1 == 1 { b'}' } else { b']' };
        loop {
            match self.skip_space()? {
                open @ (b'{' | b'[') => {
                    if depth == SKIPPED_DEPTH_MAX {
                        return None;
                    }
                    (kinds, depth) = (kinds << 1 | u64::from(open == b'{'), depth + 1);
                    self.at += 1;
                    if self.skip_space()? != close(kinds) {
                        self.begin_skipped(kinds)?;
                        continue;
                    }
                }
                first => self.skip_flat(first)?,
            }
            // A value ended, or there is none. Its container goes on, or ends and was a value itself.
            while !self.goes_on(close(kinds))? {
                (kinds, depth) = (kinds >> 1, depth - 1);
                if depth == 0 {
                    return Some(());
                }
            }
            self.begin_skipped(kinds)?;
        }
    }

    /// Passes what stands before a value in the container that is open: in an object the key and its colon.
    fn begin_skipped(&mut self, kinds: u64) -> Option<()> {
        if kinds & 1 == 0 {
            return Some(());
        }
        self.skip_space()?;
        self.key()?;
        self.colon()
    }

    /// Passes a value that is no object or array.
    fn skip_flat(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn word<const LEN: usize>(&mut self, word: &[u8; LEN]) -> Option<()> {
        (self.bytes[self.at..].first_chunk() == Some(word)).then(|| self.at += LEN)
    }

    fn number(&mut self, first: u8) -> Option<()> {
        let integer = self.at + usize::from(first == b'-');
        let mut at = self.digits(integer)?;
        if self.bytes[integer] == b'0' && at - integer > 1 {
            return None;
        }
        if self.bytes.get(at) == Some(&b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(at) {
            let is_signed = matches!(self.bytes.get(at + 1)?, b'+' | b'-');
            at = self.digits(at + 1 + usize::from(is_signed))?;
        }
        self.at = at;
        Some(())
    }

    /// Where the digits end that begin at `start`; at least one must be there.
    fn digits(&self, start: usize) -> Option<usize> {
        let mut end = start;
        while self.bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        (end > start).then_some(end)
    }

    /// Passes a key; whether it is without escapes.
    fn key(&mut self) -> Option<bool> {
        if self.peek()? == b'"' { self.string() } else { None }
    }

    /// Passes a string; whether it is without escapes.
    fn string(&mut self) -> Option<bool> {
        self.at += 1;
        let mut is_plain = true;
        loop {
            self.skip_plain();
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(is_plain);
                }
                b'\\' => self.escape()?,
                // A control character.
                _ => return None,
            }
            is_plain = false;
        }
    }

    /// Goes to the next byte that is a quote, a backslash or a control character; eight at a time, in long texts more.
    fn skip_plain(&mut self) {
        let start = self.at;
        while let Some(eight) = self.bytes[self.at..].first_chunk() {
            let ends = ends_of_plain(u64::from_le_bytes(*eight));
            if ends != 0 {
                self.at += (ends.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += eight.len();
            if self.at - start == SHORT_TEXT {
                self.skip_long();
            }
        }
        self.at += self.bytes[self.at..].iter().take_while(|byte| is_plain(**byte)).count();
    }

    /// Goes on as long as many bytes together are plain. Without a branch for each, the compiler makes vectors of them.
    #[inline(never)]
    fn skip_long(&mut self) {
        let (many, _) = self.bytes[self.at..].as_chunks::<64>();
        let plain = many.iter().take_while(|chunk| chunk.iter().fold(true, |all, byte| all & is_plain(*byte)));
        self.at += 64 * plain.count();
    }

    fn escape(&mut self) -> Option<()> {
        self.at += match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if self.bytes.get(self.at + 2..self.at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
        Some(())
    }

    fn colon(&mut self) -> Option<()> {
        (self.skip_space()? == b':').then(|| self.at += 1)
    }

    /// Passes the comma after a value, or the bracket that closes its container: false then.
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        let next = self.skip_space()?;
        self.at += 1;
        if next == b',' { Some(true) } else { (next == close).then_some(false) }
    }

    /// The next byte that is no space.
    fn skip_space(&mut self) -> Option<u8> {
        loop {
            let byte = self.peek()?;
            if byte > b' ' || !is_json_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// Finds the bytes of `word` that need an escape in a string. The lowest set bit is the highest bit of the first such
/// byte; higher bits may be wrong. See "Bit Twiddling Hacks", "determine if a word has a byte less than n".
fn ends_of_plain(word: u64) -> u64 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word;
    let quote = below(word ^ (EACH * u64::from(b'"')), 1);
    let backslash = below(word ^ (EACH * u64::from(b'\\')), 1);
    let control = below(word, 0x20);
    (quote | backslash | control) & (EACH << 7)
}
