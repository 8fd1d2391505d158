//! The walk along the tree through MessagePack and CBOR. Both are a sequence of tokens, some of which say how many of
//! the following tokens belong to them.
//!
//! A key that is not a string counts as its text (`7` is found as `payload["7"]`). A value that is wanted as a whole
//! and also in parts, or by an index counted from its end, is written as JSON and walked in that form.

use super::picked::{Picked, Scalars};
use super::tree::{Node, PathTree};
use super::{Each, PayloadFault};

/// Arrays and maps inside one another. Sensors nest three or four deep; the walk takes a part of the stack for each level.
const DEPTH_MAX: usize = 256;

/// The next token.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'t> {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// -1 minus this.
    Negative(u64),
    Single(f32),
    Double(f64),
    /// The text of a JSON number.
    Number(&'t str),
    Text(&'t str),
    Bytes(&'t [u8]),
    Array(Count),
    /// Keys, each followed by its value.
    Map(Count),
}

/// The number of values, or pairs, that remain in a container; `None` if it has an end mark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Count(pub(super) Option<u64>);

/// Why the bytes are no such document.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

pub(super) trait Tokens {
    const NAME: &'static str;

    fn next(&mut self) -> Result<Token<'_>, Broken>;

    /// Skips the string `key` if it is next, in the shortest form of its length. Saves looking whether it is UTF-8.
    fn take_key(&mut self, key: &str) -> bool;

    /// Skips the end mark of a container of unknown length, if it is next.
    fn take_end_mark(&mut self) -> bool;

    /// How many bytes were read.
    fn at(&self) -> usize;

    fn is_at_end(&self) -> bool;
}

pub(super) fn document<T: Tokens, E: From<PayloadFault>>(
    tokens: T,
    (tree, scalars): (&PathTree, &Scalars),
    picked: &mut Picked,
    each: Each<'_, E>,
) -> Result<(), E> {
    let doubles = match scalars {
        Scalars::Json => {
            picked.begin(tree);
            None
        }
        Scalars::Plain(doubles) => {
            picked.begin_plain(tree);
            Some(&**doubles)
        }
    };
    let mut walk = Walk { tokens, doubles, key: String::new() };
    if walk.tokens.is_at_end() {
        return Err(PayloadFault::empty().into());
    }
    walk.value(&tree.root, picked, DEPTH_MAX)?;
    if !walk.tokens.is_at_end() {
        return Err(walk.broken("something stands behind its end").into());
    }
    each(picked.document(None))
}

struct Walk<'s, T> {
    tokens: T,
    /// As [`Scalars::Plain`] has them; `None`: all values are written as JSON.
    doubles: Option<&'s [bool]>,
    /// Memory for keys that are no strings.
    key: String,
}

impl<T: Tokens> Walk<'_, T> {
    fn token(&mut self) -> Result<Token<'_>, PayloadFault> {
        self.tokens.next().map_err(|broken| broken.describe(T::NAME))
    }

    /// Takes a value that a path leads to. `depth` more levels may follow.
    fn value(&mut self, node: &Node, picked: &mut Picked, depth: usize) -> Result<(), PayloadFault> {
        let doubles = self.doubles;
        let takes_double = |number: f64| {
            let is_one = |doubles: &[bool]| node.slot.is_some_and(|slot| doubles[slot]);
            number.is_finite() && doubles.is_some_and(is_one)
        };
        match self.token()? {
            Token::Text(text) if doubles.is_some() && node.slot.is_some() => picked.put_text(node, text),
            Token::Double(number) if takes_double(number) => {
                picked.put_double(node, number);
                Ok(())
            }
            Token::Single(number) if takes_double(number.into()) => {
                picked.put_double(node, number.into());
                Ok(())
            }
            Token::Array(count) if node.slot.is_some() || !node.from_end.is_empty() => {
                picked.whole(node, |picked| self.write_array(count, picked, depth))
            }
            Token::Map(count) if node.slot.is_some() => {
                picked.whole(node, |picked| self.write_map(count, picked, depth))
            }
            Token::Array(count) => {
                picked.enter(node);
                self.array(node, count, picked, self.deeper(depth)?)
            }
            Token::Map(count) => {
                picked.enter(node);
                self.map(node, count, picked, self.deeper(depth)?)
            }
            token => picked.scalar(node, |picked| write_scalar(&token, picked)),
        }
    }

    fn array(&mut self, node: &Node, mut count: Count, picked: &mut Picked, depth: usize) -> Result<(), PayloadFault> {
        let mut wanted = node.indexes.iter().peekable();
        let mut index = 0u32;
        while count.goes_on(&mut self.tokens) {
            match wanted.next_if(|(at, _)| *at == index) {
                Some((_, child)) => self.value(child, picked, depth)?,
                None => self.skip(depth)?,
            }
            index = index.saturating_add(1);
        }
        Ok(())
    }

    fn map(&mut self, node: &Node, mut count: Count, picked: &mut Picked, depth: usize) -> Result<(), PayloadFault> {
        let mut likely = 0;
        while count.goes_on(&mut self.tokens) {
            match self.member(node, &mut likely)? {
                Some(child) => self.value(child, picked, depth)?,
                None => self.skip(depth)?,
            }
        }
        Ok(())
    }

    /// Takes a key; the node that it leads to, if any.
    fn member<'n>(&mut self, node: &'n Node, likely: &mut usize) -> Result<Option<&'n Node>, PayloadFault> {
        let Walk { tokens, key: memory, .. } = self;
        if let Some(member) = node.keys.members.get(*likely)
            && tokens.take_key(&member.key)
        {
            *likely += 1;
            return Ok(Some(&member.node));
        }
        let key = match tokens.next().map_err(|broken| broken.describe(T::NAME))? {
            Token::Text(key) => key,
            other => key_text(&other, memory).ok_or_else(|| PayloadFault::parse(BAD_KEY))?,
        };
        Ok(node.member(key.as_bytes(), likely))
    }

    fn skip(&mut self, depth: usize) -> Result<(), PayloadFault> {
        let (mut count, is_map) = match self.token()? {
            Token::Array(count) => (count, false),
            Token::Map(count) => (count, true),
            _ => return Ok(()),
        };
        let depth = self.deeper(depth)?;
        while count.goes_on(&mut self.tokens) {
            self.skip(depth)?;
            if is_map {
                self.skip(depth)?;
            }
        }
        Ok(())
    }

    /// Writes a value as JSON.
    fn write(&mut self, picked: &mut Picked, depth: usize) -> Result<(), PayloadFault> {
        match self.token()? {
            Token::Array(count) => self.write_array(count, picked, depth),
            Token::Map(count) => self.write_map(count, picked, depth),
            token => write_scalar(&token, picked),
        }
    }

    fn write_array(&mut self, mut count: Count, picked: &mut Picked, depth: usize) -> Result<(), PayloadFault> {
        let depth = self.deeper(depth)?;
        picked.text.push('[');
        while count.goes_on(&mut self.tokens) {
            picked.push_comma();
            self.write(picked, depth)?;
            picked.end()?;
        }
        picked.text.push(']');
        Ok(())
    }

    fn write_map(&mut self, mut count: Count, picked: &mut Picked, depth: usize) -> Result<(), PayloadFault> {
        let depth = self.deeper(depth)?;
        picked.text.push('{');
        while count.goes_on(&mut self.tokens) {
            let Walk { tokens, key: memory, .. } = self;
            match tokens.next().map_err(|broken| broken.describe(T::NAME))? {
                Token::Text(key) => picked.push_key(key),
                other => picked.push_key(key_text(&other, memory).ok_or_else(|| PayloadFault::parse(BAD_KEY))?),
            }
            self.write(picked, depth)?;
            picked.end()?;
        }
        picked.text.push('}');
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Result<usize, PayloadFault> {
        depth.checked_sub(1).ok_or_else(|| PayloadFault::parse(format!("the payload nests deeper than {DEPTH_MAX}")))
    }

    fn broken(&self, what: &'static str) -> PayloadFault {
        Broken { at: self.tokens.at(), what }.describe(T::NAME)
    }
}

const BAD_KEY: &str = "the payload has a map whose key is an array, a map or binary";

/// The text of a key that is no string.
fn key_text<'k>(token: &Token<'_>, memory: &'k mut String) -> Option<&'k str> {
    let mut picked = Picked::default();
    std::mem::swap(&mut picked.text, memory);
    picked.text.clear();
    match token {
        Token::Null | Token::Bool(_) | Token::Unsigned(_) | Token::Negative(_) | Token::Number(_) => {
            write_scalar(token, &mut picked).ok()?;
        }
        Token::Single(number) if number.is_finite() => picked.push_single(*number),
        Token::Double(number) if number.is_finite() => picked.push_float(*number),
        Token::Bytes(bytes) => picked.text.push_str(std::str::from_utf8(bytes).ok()?),
        _ => return None,
    }
    *memory = picked.text;
    Some(memory)
}

fn write_scalar(token: &Token<'_>, picked: &mut Picked) -> Result<(), PayloadFault> {
    match *token {
        Token::Null => picked.push_null(),
        Token::Bool(truth) => picked.push_bool(truth),
        Token::Unsigned(number) => picked.push_integer(number),
        Token::Negative(number) => picked.push_integer(-1 - i128::from(number)),
        Token::Single(number) => picked.push_single(number),
        Token::Double(number) => picked.push_float(number),
        Token::Number(text) => picked.text.push_str(text),
        Token::Text(text) => picked.push_string(text),
        Token::Bytes(bytes) => picked.push_bytes(bytes)?,
        Token::Array(_) | Token::Map(_) => unreachable!("containers are not scalars"),
    }
    Ok(())
}

impl Count {
    /// Whether another value, or pair of them, follows, which is counted.
    fn goes_on(&mut self, tokens: &mut impl Tokens) -> bool {
        match &mut self.0 {
            None => !tokens.take_end_mark(),
            Some(0) => false,
            Some(count) => {
                *count -= 1;
                true
            }
        }
    }
}

impl Broken {
    fn describe(&self, name: &str) -> PayloadFault {
        PayloadFault::parse(format!("the payload is not {name}: {} (byte {})", self.what, self.at + 1))
    }
}

/// The bytes of a document, taken from the front.
#[derive(Debug)]
pub(super) struct Bytes<'p> {
    payload: &'p [u8],
    pub(super) at: usize,
}

impl<'p> Bytes<'p> {
    pub(super) fn new(payload: &'p [u8]) -> Bytes<'p> {
        Bytes { payload, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.payload.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.payload.get(self.at).copied()
    }

    pub(super) fn broken(&self, what: &'static str) -> Broken {
        Broken { at: self.at, what }
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        match self.payload.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.broken("it ends too early")),
        }
    }

    /// Skips a head of one byte and a text, if they are next.
    #[inline]
    pub(super) fn take_if(&mut self, head: u8, text: &str) -> bool {
        let is_next = match self.payload.get(self.at..).and_then(<[u8]>::split_first) {
            Some((first, rest)) => *first == head && rest.starts_with(text.as_bytes()),
            None => false,
        };
        if is_next {
            self.at += 1 + text.len();
        }
        is_next
    }

    /// So many bytes, which need not be there.
    #[inline]
    pub(super) fn take(&mut self, length: u64) -> Result<&'p [u8], Broken> {
        let rest = &self.payload[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(self.broken("a length beyond its end")),
        }
    }

    #[inline]
    pub(super) fn text(&mut self, length: u64) -> Result<&'p str, Broken> {
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| Broken { at, what: "a string that is not UTF-8" })
    }
}
