//! Predicates that need no interpreter: comparisons of fields with constants, and `and`, `or`, `not` of them.
//!
//! They are evaluated on the texts of the fields, which the walk through the payload finds anyway: about a hundred
//! times as fast. The result equals the interpreter's, errors included; a property test compares the two.
//! The exception is half of a surrogate pair in a field that the predicate does not compare: the interpreter refuses the
//! payload.

use std::cmp::Ordering;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::ops::Cmp;
use jaq_core::path::{Opt, Part};

use super::JqFault;
use super::number::compare_doubles;
use super::read::{HALF_PAIR, NO_TEXT_OF_JQ};

/// Comparisons within one another: they are answered by recursion.
const DEPTH_MAX: usize = 50;

#[derive(Debug)]
pub struct Check {
    /// Keys from the payload on. Each path comes after all that it begins with; the first one is the payload.
    paths: Vec<Vec<String>>,
    expression: Expression,
}

#[derive(Debug)]
enum Expression {
    Truth(Operand),
    Compare(Operand, Cmp, Operand),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
}

#[derive(Debug)]
enum Operand {
    /// Indexes into the paths, from the payload to the field.
    Field(Vec<usize>),
    Null,
    Bool(bool),
    Number(Exact),
    Text(String),
}

/// A number as far as comparing goes.
#[derive(Debug, Clone, Copy)]
enum Exact {
    Int(i128),
    Float(f64),
}

/// A field or a constant of a message at hand.
enum Seen<'s> {
    Null,
    Bool(bool),
    Number(Exact),
    Text(&'s str),
    /// With its quotes.
    JsonString(&'s str),
    Array,
    Object,
}

impl Check {
    /// `None` if the term needs the interpreter.
    pub(super) fn of(term: &Term<&str>) -> Option<Check> {
        let mut check = Check { paths: vec![Vec::new()], expression: Expression::Truth(Operand::Null) };
        check.expression = check.expression(term, 0)?;
        Some(check)
    }

    /// The fields that it looks at, as keys from the payload on.
    pub fn paths(&self) -> &[Vec<String>] {
        &self.paths
    }

    /// `text` gives the JSON text of a field by its index in [`Check::paths`], `None` if it is missing. The first, the
    /// payload, always has one.
    pub fn is_true<'t>(&self, text: &dyn Fn(usize) -> Option<&'t str>) -> Result<bool, JqFault> {
        self.expression.is_true(text)
    }

    fn expression(&mut self, term: &Term<&str>, depth: usize) -> Option<Expression> {
        let depth = depth + 1;
        if depth > DEPTH_MAX {
            return None;
        }
        Some(match term {
            Term::BinOp(l, BinaryOp::And, r) => {
                Expression::And(Box::new(self.expression(l, depth)?), Box::new(self.expression(r, depth)?))
            }
            Term::BinOp(l, BinaryOp::Or, r) => {
                Expression::Or(Box::new(self.expression(l, depth)?), Box::new(self.expression(r, depth)?))
            }
            Term::BinOp(l, BinaryOp::Pipe(None), r) if matches!(&**r, Term::Call("not", arguments) if arguments.is_empty()) => {
                Expression::Not(Box::new(self.expression(l, depth)?))
            }
            Term::BinOp(l, BinaryOp::Cmp(comparison), r) => {
                let (l, r) = (self.operand(l)?, self.operand(r)?);
                // Two fields may be arrays.
                if matches!((&l, &r), (Operand::Field(_), Operand::Field(_))) {
                    return None;
                }
                Expression::Compare(l, *comparison, r)
            }
            other => Expression::Truth(self.operand(other)?),
        })
    }

    fn operand(&mut self, term: &Term<&str>) -> Option<Operand> {
        Some(match term {
            Term::Id => Operand::Field(vec![0]),
            Term::Path(root, path) if matches!(**root, Term::Id) => {
                let mut keys = Vec::new();
                let mut fields = vec![0];
                for (part, opt) in &path.0 {
                    let (Part::Index(Term::Str(None, parts)), Opt::Essential) = (part, opt) else { return None };
                    keys.push(constant(parts)?);
                    fields.push(self.field(&keys));
                }
                Operand::Field(fields)
            }
            Term::Num(number) => Operand::Number(Exact::of_json(number)?),
            Term::Neg(number) => match &**number {
                Term::Num(number) => Operand::Number(Exact::of_json(&format!("-{number}"))?),
                _ => return None,
            },
            Term::Str(None, parts) => Operand::Text(constant(parts)?),
            Term::Call("null", arguments) if arguments.is_empty() => Operand::Null,
            Term::Call("true", arguments) if arguments.is_empty() => Operand::Bool(true),
            Term::Call("false", arguments) if arguments.is_empty() => Operand::Bool(false),
            _ => return None,
        })
    }

    fn field(&mut self, keys: &[String]) -> usize {
        self.paths.iter().position(|known| known == keys).unwrap_or_else(|| {
            self.paths.push(keys.to_vec());
            self.paths.len() - 1
        })
    }
}

/// A string without anything to fill in.
fn constant(parts: &[StrPart<&str, Term<&str>>]) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            StrPart::Str(part) => text.push_str(part),
            StrPart::Char(char) => text.push(*char),
            StrPart::Term(_) => return None,
        }
    }
    Some(text)
}

impl Expression {
    fn is_true<'t>(&self, text: &dyn Fn(usize) -> Option<&'t str>) -> Result<bool, JqFault> {
        Ok(match self {
            Expression::Truth(operand) => !matches!(operand.see(text)?, Seen::Null | Seen::Bool(false)),
            Expression::And(l, r) => l.is_true(text)? && r.is_true(text)?,
            Expression::Or(l, r) => l.is_true(text)? || r.is_true(text)?,
            Expression::Not(negated) => !negated.is_true(text)?,
            Expression::Compare(l, comparison, r) => {
                let order = l.see(text)?.compare(&r.see(text)?)?;
                match comparison {
                    Cmp::Lt => order.is_lt(),
                    Cmp::Le => order.is_le(),
                    Cmp::Gt => order.is_gt(),
                    Cmp::Ge => order.is_ge(),
                    Cmp::Eq => order.is_eq(),
                    Cmp::Ne => order.is_ne(),
                }
            }
        })
    }
}

impl Operand {
    fn see<'s, 't: 's>(&'s self, text: &dyn Fn(usize) -> Option<&'t str>) -> Result<Seen<'s>, JqFault> {
        let fields = match self {
            Operand::Null => return Ok(Seen::Null),
            Operand::Bool(truth) => return Ok(Seen::Bool(*truth)),
            Operand::Number(number) => return Ok(Seen::Number(*number)),
            Operand::Text(text) => return Ok(Seen::Text(text)),
            Operand::Field(fields) => fields,
        };
        let mut seen = Seen::Null;
        for (at, field) in fields.iter().enumerate() {
            let Some(text) = text(*field) else { return Ok(Seen::Null) };
            seen = Seen::of(text)?;
            match seen {
                Seen::Object => {}
                Seen::Null => return Ok(seen),
                _ if at + 1 < fields.len() => {
                    return Err(JqFault::value(format!("fails: cannot index {} with a string", seen.kind())));
                }
                _ => {}
            }
        }
        Ok(seen)
    }
}

impl<'s> Seen<'s> {
    fn of(text: &'s str) -> Result<Seen<'s>, JqFault> {
        Ok(match text.as_bytes().first() {
            Some(b'n') | None => Seen::Null,
            Some(b't') => Seen::Bool(true),
            Some(b'f') => Seen::Bool(false),
            Some(b'"') => Seen::JsonString(text),
            Some(b'[') => Seen::Array,
            Some(b'{') => Seen::Object,
            Some(_) => Seen::Number(Exact::of_json(text).ok_or_else(|| JqFault::value("meets an invalid number"))?),
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Seen::Null => "null",
            Seen::Bool(_) => "a truth value",
            Seen::Number(_) => "a number",
            Seen::Text(_) | Seen::JsonString(_) => "a string",
            Seen::Array => "an array",
            Seen::Object => "an object",
        }
    }

    /// As [`super::value::Value`] compares. Of two arrays or objects one is a constant, which there is none of.
    fn compare(&self, other: &Seen<'_>) -> Result<Ordering, JqFault> {
        let rank = |seen: &Seen<'_>| match seen {
            Seen::Null => 0,
            Seen::Bool(_) => 1,
            Seen::Number(_) => 2,
            Seen::Text(_) | Seen::JsonString(_) => 3,
            Seen::Array => 4,
            Seen::Object => 5,
        };
        Ok(match (self, other) {
            (Seen::Bool(l), Seen::Bool(r)) => l.cmp(r),
            (Seen::Number(l), Seen::Number(r)) => l.compare(*r),
            (Seen::Text(l), Seen::Text(r)) => l.cmp(r),
            (Seen::JsonString(l), Seen::Text(r)) => compare_json(l, r)?,
            (Seen::Text(l), Seen::JsonString(r)) => compare_json(r, l)?.reverse(),
            (l, r) => rank(l).cmp(&rank(r)),
        })
    }
}

/// A JSON string with a constant.
fn compare_json(json: &str, constant: &str) -> Result<Ordering, JqFault> {
    if memchr::memchr(b'\\', json.as_bytes()).is_none() {
        return Ok(json[1..json.len() - 1].cmp(constant));
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => Ok(text.as_str().cmp(constant)),
        Err(_) => {
            let message = format!("cannot read the payload: {HALF_PAIR}, {NO_TEXT_OF_JQ}");
            Err(JqFault { reason: "parse", message })
        }
    }
}

impl Exact {
    /// As [`super::number::Number`] is compared. `None` for what is no number of JSON.
    fn of_json(text: &str) -> Option<Exact> {
        if let Ok(int) = text.parse::<i64>()
            && text != "-0"
        {
            // What Rust takes besides JSON's grammar is of no matter here: no such number is in a payload.
            return Some(Exact::Int(int.into()));
        }
        if !super::read::is_number(text.as_bytes()) {
            return None;
        }
        let is_int = !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) && text != "-0";
        match text.parse() {
            Ok(int) if is_int => Some(Exact::Int(int)),
            _ => text.parse().ok().map(Exact::Float),
        }
    }

    fn compare(self, other: Exact) -> Ordering {
        let float = |exact: Exact| match exact {
            Exact::Int(int) => int as f64,
            Exact::Float(float) => float,
        };
        match (self, other) {
            (Exact::Int(l), Exact::Int(r)) => l.cmp(&r),
            (l, r) => compare_doubles(float(l), float(r)),
        }
    }
}
