//! Text that a database's encoding cannot hold, escaped in ASCII, and decoded again.
//!
//! ```text
//! lat/Škoda\🌡   →   \u{}lat/\u{160}koda\\\u{1f321}
//! ```
//! The mark `\u{}` at the beginning, which is no character, says that the rest is escaped: `\u{…}` is the character
//! with that hexadecimal number, `\\` a backslash. Text that needs no escape is stored unchanged, unless it begins with
//! the mark. So every stored text has one meaning.

use std::borrow::Cow;
use std::fmt::Write as _;

const MARK: &str = r"\u{}";

/// `text` as it is stored where only the characters that `holds` agrees to can be. ASCII but NUL must be among them.
pub fn encode(text: &str, holds: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.starts_with(MARK) && text.chars().all(&holds) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(MARK.len() + 2 * text.len());
    stored.push_str(MARK);
    for character in text.chars() {
        match character {
            '\\' => stored.push_str(r"\\"),
            _ if holds(character) => stored.push(character),
            _ => write!(stored, r"\u{{{:x}}}", u32::from(character)).expect("writing to a String cannot fail"),
        }
    }
    Cow::Owned(stored)
}

/// Decodes a text that [`encode`] encoded. After the mark, a backslash that begins no escape is an ordinary character.
pub fn decode(stored: &str) -> Cow<'_, str> {
    let Some(mut rest) = stored.strip_prefix(MARK) else { return Cow::Borrowed(stored) };
    let mut text = String::with_capacity(rest.len());
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (character, after) = unescape(escape).unwrap_or(('\\', escape));
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character of an escape without its backslash, and what follows.
fn unescape(escape: &str) -> Option<(char, &str)> {
    if let Some(after) = escape.strip_prefix('\\') {
        return Some(('\\', after));
    }
    let (number, after) = escape.strip_prefix("u{")?.split_once('}')?;
    Some((char::from_u32(u32::from_str_radix(number, 16).ok()?)?, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_not_held_is_escaped_and_the_mark_says_so() {
        assert_eq!(encode(r"lat/Škoda\🌡", |c| c.is_ascii()), r"\u{}lat/\u{160}koda\\\u{1f321}");
        assert_eq!(encode(r"a\b", |c| c.is_ascii()), r"a\b");
        assert_eq!(encode("é🌡", |c| u32::from(c) < 256), r"\u{}é\u{1f321}");
        assert_eq!(encode(r"\u{}a\", |_| true), r"\u{}\\u{}a\\");
    }

    #[test]
    fn what_no_escape_is_after_the_mark_is_left_as_it_is() {
        assert_eq!(decode(r"\u{}a\u{d800}\u{zz}\x\"), r"a\u{d800}\u{zz}\x\");
        assert_eq!(decode(r"a\u{e9}"), r"a\u{e9}");
    }

    proptest! {
        #[test]
        fn what_was_escaped_is_read_back_as_it_was(text in r"(\\u\{\})?(\\|u|\{|\}|e9|é|🌡|\u{0}|.){0,20}") {
            for holds in [|c: char| c.is_ascii() && c != '\0', |c: char| c != '\0', |c: char| u32::from(c) < 256] {
                let stored = encode(&text, holds);
                prop_assert!(stored.chars().all(holds));
                prop_assert_eq!(decode(&stored), text.as_str());
            }
        }
    }
}
