//! Regular expressions of texts, for the schema. Each accepts everything that the decoder accepts. It may accept more,
//! which the decoder refuses with a better message.
//!
//! The expressions use only syntax that ECMA 262 and Rust's engines share. There are no flags, so both cases are
//! spelled out.

/// `${VAR}`, `${VAR:-default}`, `${VAR:?message}` anywhere in a text.
pub(super) const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:[-?][^}]*)?\}";

pub(super) const NOT_EMPTY: &str = r"^[^\u0000]+$";

pub(super) const FLAG: &str = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])$";

pub(super) const INTEGER: &str = r"^\+?[0-9]+$";

pub(super) const DURATION: &str = r"^\s*([0-9]+\s*(ms|s|m|h|d)\s*)+$";

pub(super) const SIZE: &str = r"^\s*[0-9]+\s*([bB]|[kKmMgGtT][iI]?[bB])?\s*$";

/// A port from 1 to 65535.
macro_rules! port {
    () => {
        r":0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
    };
}

/// Credentials, host and port of an address.
macro_rules! authority {
    () => {
        concat!(r"([^/?#\\]*@)?(\[[0-9A-Fa-f:.]+\]|[^\s@:/?#%\\\[\]{}<>,;=&^|]+)(", port!(), r")?")
    };
}

pub(super) const BROKER: &str =
    concat!(r"^\s*(mqtts?://", authority!(), r"/?|wss?://", authority!(), r"([/?][^#@\\]*)?)\s*$");

/// `sqlite:FILE`, `sqlite:///FILE`, `postgres://…`, or libpq's `name=value` pairs.
pub(super) const DATABASE: &str =
    r"^(sqlite:(?!:memory:$)(///|(?!//))[^?\u0000]*[^?/\u0000]$|postgres(ql)?://|[^\s:=]+=)";

pub(super) const SQLITE: &str = r"^sqlite:";

/// A path of the payload, or of an element.
pub(super) const FOR_EACH: &str = r"^\s*((payload|item)([.\[].*)?|auto)$";

/// A name in metrics that is not the broker's.
pub(super) const DATABASE_NAME: &str = r"^(?!mqtt$)[^{}\u0000]+$";

/// A name; `publish` takes no template.
pub(super) const DATABASE_OF_PUBLICATION: &str = r"^[^{]+$";

pub(super) const SCHEMA_NAME: &str = "^[^\".\\u0000]+$";

pub(super) const LISTEN: &str = concat!(r"^(localhost|[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\])", port!(), "$");

macro_rules! log_directive {
    () => {
        concat!(
            r"(\s*[A-Za-z0-9_:-]+\s*=)?\s*([Oo][Ff][Ff]|[Ee][Rr][Rr][Oo][Rr]|[Ww][Aa][Rr][Nn]|[Ii][Nn][Ff][Oo]|",
            r"[Dd][Ee][Bb][Uu][Gg]|[Tt][Rr][Aa][Cc][Ee])\s*"
        )
    };
}

/// Levels of the log, each for a module or for all the rest.
pub(super) const LOG_LEVEL: &str = concat!("^", log_directive!(), "(,", log_directive!(), ")*$");

/// A capture's name; letters are not told from other signs, for which engines have different words.
macro_rules! capture {
    () => {
        r"[^/+#{}*.\s0-9-][^/+#{}*.\s]*"
    };
}

/// MQTT's wildcards and captures each take a whole level, and `#` and `{*x}` the last one. `::1` behind it is the filter's QoS.
pub(super) const TOPIC: &str = concat!(
    r"^(?!$)(?!\$share/[^/]*/?$)(\$share/[^/+#{}\u0000]+/(?=.))?((\+|\{",
    capture!(),
    r"\}|[^/+#{}\u0000]*)/)*(\+|#|\{\*?",
    capture!(),
    r"\}|[^/+#{}\u0000]*)(::[0-2])?$"
);

macro_rules! table {
    () => {
        concat!(
            "([^\\s\".`{\\u0000](?:[^\".`{\\u0000]{0,61}[^\\s\".`{\\u0000])?\\.)?",
            "(?![Rr][Oo][Ww][Bb][Rr][Ii][Dd][Gg][Ee]_([Oo][Ff][Ff][Ss][Ee][Tt][Ss]|[Dd][Ee][Aa][Dd]_[Ll][Ee][Tt][Tt][Ee][Rr][Ss])$)",
            "[^\\s\".`{\\u0000](?:[^\".`{\\u0000]{0,61}[^\\s\".`{\\u0000])?"
        )
    };
}

/// `TABLE` or `SCHEMA.TABLE`; none of Rowbridge's own.
pub(super) const FIXED_TABLE: &str = concat!("^", table!(), "$");

/// The same, or a template.
pub(super) const TABLE: &str = concat!(r"^(.*\{.+\}.*|", table!(), ")$");

macro_rules! step {
    () => {
        r#"(\.[^\s.\[\]"']+|\[\s*[-+]?[0-9]+\s*\]|\["([^"\\]|\\.)*"\]|\['[^']*'\])"#
    };
}

/// What a column can be filled from.
pub(super) const SOURCE: &str = concat!(
    r"^\s*(topic",
    step!(),
    "?|(payload|item|parent)",
    step!(),
    r#"*|property(\..+|\["([^"\\]|\\.)*"\]|\['[^']*'\])|content_type|response_topic|correlation_data|message_expiry|"#,
    r"qos|retain|dup|received_at|journal\.seq|bridge|rule|(parent_)?(index|key)|unmapped)\s*$"
);

pub(super) const COLUMN_TYPE: &str = concat!(
    r"^\s*(bool|int|bigint|real|double|decimal(\s*\(\s*[0-9]+\s*(,\s*[0-9]+\s*)?\))?|text|json|bytes|uuid|date|time|",
    r"timestamp|timestamptz|inet)\s*(\[\])?\s*$"
);

/// A decimal number, perhaps with an exponent.
pub(super) const DECIMAL: &str = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$";

/// An epoch's unit, or a strftime pattern.
pub(super) const TIME_FORMAT: &str = r"^\s*(s|ms|us|ns|rfc3339|auto|[^%]*%.*)\s*$";
