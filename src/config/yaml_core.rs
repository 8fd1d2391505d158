//! YAML's core schema: the type of an unquoted word.

/// The type of a scalar in the core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Core {
    Null,
    Bool(bool),
    /// Fits 64 bits, signed or unsigned; larger ones are floats, as in JSON.
    Integer(i128),
    Float(f64),
    Text,
}

/// YAML 1.2.2, section 10.3.2.
pub(crate) fn resolve_plain(text: &str) -> Core {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Core::Null,
        "true" | "True" | "TRUE" => return Core::Bool(true),
        "false" | "False" | "FALSE" => return Core::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Core::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Core::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Core::Float(f64::NAN),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return number;
    }
    if is_float(text) { text.parse().map_or(Core::Text, Core::Float) } else { Core::Text }
}

fn integer(text: &str) -> Option<Core> {
    let based = |digits: &str, base| {
        let clean = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
        clean.then(|| i128::from_str_radix(digits, base))
    };
    let parsed = if let Some(digits) = text.strip_prefix("0x") {
        based(digits, 16)?
    } else if let Some(digits) = text.strip_prefix("0o") {
        based(digits, 8)?
    } else {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse()
    };
    match parsed {
        Ok(number) if number >= i128::from(i64::MIN) && number <= i128::from(u64::MAX) => Some(Core::Integer(number)),
        _ => None,
    }
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    has_digits
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, core) in [
            ("", Core::Null),
            ("~", Core::Null),
            ("null", Core::Null),
            ("true", Core::Bool(true)),
            ("False", Core::Bool(false)),
            ("12", Core::Integer(12)),
            ("-12", Core::Integer(-12)),
            ("+12", Core::Integer(12)),
            ("007", Core::Integer(7)),
            ("0x1F", Core::Integer(31)),
            ("0o17", Core::Integer(15)),
            ("18446744073709551615", Core::Integer(i128::from(u64::MAX))),
            ("18446744073709551616", Core::Float(18_446_744_073_709_551_616.0)),
            ("1.5", Core::Float(1.5)),
            (".5", Core::Float(0.5)),
            ("5.", Core::Float(5.0)),
            ("1e3", Core::Float(1000.0)),
            ("-.inf", Core::Float(f64::NEG_INFINITY)),
            ("off", Core::Text),
            ("yes", Core::Text),
            ("3.1.1", Core::Text),
            ("0x", Core::Text),
            ("0x-1", Core::Text),
            ("e3", Core::Text),
            (".", Core::Text),
            ("inf", Core::Text),
            ("nan", Core::Text),
            ("1_000", Core::Text),
            ("12:30", Core::Text),
        ] {
            assert_eq!(resolve_plain(text), core, "{text}");
        }
    }
}
