//! Checks of a program's text before it is compiled: the position of an error, the nesting depth, the names in use.

use std::collections::HashSet;

use jaq_core::load::lex::{self, StrPart, Tok, Token};
use jaq_core::load::parse::{self, BinaryOp, Def, Pattern, Term};
use jaq_core::load::{Lexer, Parser};
use jaq_core::path::Part;

use super::JqError;
use super::functions::LINK;

/// Brackets within brackets.
const BRACKETS_MAX: usize = 200;
/// Operators and words that may lie within one another: parsing and compiling go as deep.
const DEPTH_MAX: usize = 10_000;
/// The variable that nobody reads.
const LINK_VARIABLE: &str = "$!link";

/// Parses the program.
pub(super) fn parse(text: &str) -> Result<Term<&str>, JqError> {
    if let Some(at) = deepest_bracket(text) {
        let message = format!("brackets are nested more than {BRACKETS_MAX} deep");
        return Err(JqError::at(text, &text[at..], message));
    }
    let tokens = Lexer::new(text).lex().map_err(|errors| lexing(text, &errors))?;
    if depth(&tokens) > DEPTH_MAX {
        return Err(JqError::at(text, text, format!("more than {DEPTH_MAX} operators are nested")));
    }
    if tokens.is_empty() {
        return Err(JqError::at(text, text, "the program is empty; `.` is the whole payload".to_owned()));
    }
    let nested = Parser::new(&tokens).parse(|parser| parser.term());
    nested.map_err(|errors| parsing(text, &errors))
}

/// Brackets in strings and comments count as well: there are never so many.
fn deepest_bracket(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.bytes().position(|byte| {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > BRACKETS_MAX
    })
}

/// How deep the term may become, at most.
fn depth(tokens: &[Token<&str>]) -> usize {
    let inner = tokens.iter().map(|token| match &token.1 {
        Tok::Block(tokens) => depth(tokens),
        Tok::Str(parts) => {
            let terms = parts.iter().filter_map(|part| match part {
                StrPart::Term(Token(_, Tok::Block(tokens))) => Some(depth(tokens)),
                _ => None,
            });
            parts.len() + terms.max().unwrap_or(0)
        }
        _ => 0,
    });
    tokens.len() + inner.max().unwrap_or(0)
}

fn lexing(text: &str, errors: &[lex::Error<&str>]) -> JqError {
    let Some((expected, found)) = errors.first() else {
        return JqError::at(text, text, "it cannot be read".to_owned());
    };
    let message = match expected {
        lex::Expect::Delim(open) => format!("`{open}` is not closed"),
        lex::Expect::Token => "this begins nothing that jq knows".to_owned(),
        expected => format!("{} is expected", expected.as_str()),
    };
    // What is not closed is named where it opens.
    let place = match expected {
        lex::Expect::Delim(open) => open,
        _ => found,
    };
    JqError::at(text, place, message)
}

fn parsing(text: &str, errors: &[parse::TError<'_, &str>]) -> JqError {
    let Some((expected, found)) = errors.first() else {
        return JqError::at(text, text, "it cannot be read".to_owned());
    };
    let expected = expected.as_str();
    match found {
        Some(Token(found, _)) => {
            let shown: String = found.chars().take(20).collect();
            let message = match (expected, shown.as_str()) {
                ("nothing", _) => format!("`{shown}` does not belong here"),
                _ => format!("{expected} is expected where `{shown}` stands"),
            };
            JqError::at(text, found, message)
        }
        None => JqError::at(text, &text[text.len()..], format!("it ends where {expected} is expected")),
    }
}

/// What a term uses.
#[derive(Debug, Default)]
pub(super) struct Names<'t> {
    pub(super) calls: HashSet<&'t str>,
    pub(super) variables: HashSet<&'t str>,
    /// Terms, strings' parts and patterns.
    pub(super) terms: usize,
}

impl<'t> Names<'t> {
    pub(super) fn of(term: &mut Term<&'t str>) -> Names<'t> {
        let mut names = Names::default();
        names.term(term);
        names
    }

    fn term(&mut self, term: &mut Term<&'t str>) {
        self.terms += 1;
        match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Arr(None) => {}
            Term::Str(format, parts) => {
                self.calls.extend(*format);
                for part in parts {
                    self.terms += 1;
                    if let StrPart::Term(term) = part {
                        self.term(term);
                    }
                }
            }
            Term::Arr(Some(term)) | Term::Neg(term) | Term::Label(_, term) => self.term(term),
            Term::Obj(entries) => {
                for (key, value) in entries {
                    self.term(key);
                    value.iter_mut().for_each(|value| self.term(value));
                }
            }
            Term::BinOp(l, operator, r) => {
                self.term(l);
                if let BinaryOp::Pipe(Some(pattern)) = operator {
                    self.pattern(pattern);
                }
                self.term(r);
            }
            Term::Fold(_, source, pattern, arguments) => {
                self.term(source);
                self.pattern(pattern);
                arguments.iter_mut().for_each(|argument| self.term(argument));
            }
            Term::TryCatch(term, caught) => {
                self.term(term);
                caught.iter_mut().for_each(|caught| self.term(caught));
            }
            Term::IfThenElse(branches, otherwise) => {
                for (condition, then) in branches {
                    self.term(condition);
                    self.term(then);
                }
                otherwise.iter_mut().for_each(|otherwise| self.term(otherwise));
            }
            Term::Def(definitions, term) => {
                definitions.iter_mut().for_each(|definition| self.definition(definition));
                self.term(term);
            }
            Term::Call(name, arguments) => {
                self.calls.insert(name);
                arguments.iter_mut().for_each(|argument| self.term(argument));
            }
            Term::Var(name) => {
                self.variables.insert(name);
            }
            Term::Path(term, path) => {
                self.term(term);
                for (part, _) in &mut path.0 {
                    match part {
                        Part::Index(index) => self.term(index),
                        Part::Range(from, to) => {
                            from.iter_mut().chain(to).for_each(|end| self.term(end));
                        }
                    }
                }
            }
        }
    }

    fn pattern(&mut self, pattern: &mut Pattern<&'t str>) {
        self.terms += 1;
        match pattern {
            Pattern::Var(_) => {}
            Pattern::Arr(patterns) => patterns.iter_mut().for_each(|pattern| self.pattern(pattern)),
            Pattern::Obj(entries) => {
                for (key, pattern) in entries {
                    self.term(key);
                    self.pattern(pattern);
                }
            }
        }
    }

    /// A filter that is handed on from call to call makes a chain as long as there are calls, which is dropped by
    /// recursion. Each definition that takes filters therefore binds something that is counted.
    fn definition(&mut self, definition: &mut Def<&'t str>) {
        self.term(&mut definition.body);
        if definition.args.iter().any(|argument| !argument.starts_with('$')) {
            let body = std::mem::take(&mut definition.body);
            let bound = BinaryOp::Pipe(Some(Pattern::Var(LINK_VARIABLE)));
            definition.body = Term::BinOp(Box::new(Term::Call(LINK, Vec::new())), bound, Box::new(body));
            self.terms += 3;
        }
    }
}
