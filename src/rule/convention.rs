//! How messages name their table and format in other systems.

use super::{Descriptor, DescriptorFault, Form, TableName};

/// The conventions of other systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Convention {
    /// The topic is `/DB/TABLE`; MQTT 5 user properties `JoinBase.database` and `JoinBase.table` override it.
    Joinbase,
    /// The topic is `db/append/TABLE`, `db/write/TABLE` or `db/metrics/TABLE`, with `:FORMAT:COMPRESS` behind it; MQTT 5 user
    /// properties name options.
    Machbase,
}

/// What a message names: the table, and with [`Convention::Machbase`] how its payload is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    pub table: String,
    /// A user property names the table, not the topic.
    pub is_by_property: bool,
    pub form: Option<Form>,
}

/// MQTT 5 user properties of Machbase that are options.
const OPTIONS: [&str; 7] = ["format", "timeformat", "tz", "compress", "delimiter", "header", "method"];

impl Convention {
    /// `property` looks a user property up, without regard to case. The error is the rest of a sentence that begins with the
    /// message.
    pub fn address<'m>(
        self,
        topic: &str,
        property: impl Fn(&str) -> Option<&'m [u8]>,
    ) -> Result<Address, DescriptorFault> {
        let text = |name: &str| {
            let bytes = property(name).filter(|bytes| !bytes.is_empty())?;
            Some(std::str::from_utf8(bytes).map_err(|_| format!("has a user property `{name}` that is not UTF-8")))
        };
        match self {
            Convention::Joinbase => {
                let mut levels = topic.split('/');
                let by_topic = match (levels.next(), levels.next(), levels.next(), levels.next()) {
                    (Some(""), Some(database), Some(table), None) => Some((database, table)),
                    _ => None,
                };
                let by_property = text("JoinBase.table").transpose()?;
                let table = match (by_property, by_topic) {
                    (Some(table), _) => table,
                    (None, Some((_, table))) => table,
                    (None, None) => {
                        return Err("names no table: its topic is not `/DB/TABLE`, and it has no user property \
                                    `JoinBase.table`"
                            .to_owned());
                    }
                };
                let database = text("JoinBase.database").transpose()?.or(by_topic.map(|(database, _)| database));
                let table = match database {
                    Some(database) if !table.contains('.') => format!("{database}.{table}"),
                    _ => table.to_owned(),
                };
                Ok(Address { table, is_by_property: by_property.is_some(), form: None })
            }
            Convention::Machbase => {
                let Descriptor { table, mut form } =
                    Descriptor::parse(topic).map_err(|fault| format!("is not one for Machbase: its topic {fault}"))?;
                for option in OPTIONS {
                    if let Some(value) = text(option).transpose()? {
                        form.set(option, value)
                            .map_err(|fault| format!("cannot be read: its user property `{option}` {fault}"))?;
                    }
                }
                Ok(Address { table, is_by_property: false, form: Some(form) })
            }
        }
    }
}

impl Convention {
    /// Whether a message of this topic is a request for an answer, or an answer, and no rows. A rule that takes every topic
    /// of Machbase meets its own answers.
    pub fn is_of_queries(self, topic: &str) -> bool {
        let mut levels = topic.trim_start_matches('/').split('/');
        self == Convention::Machbase
            && levels.next() == Some("db")
            && matches!(levels.next(), Some("query" | "reply" | "tql"))
    }

    /// The database that user properties name, which win over the topic and its aliases.
    pub fn database_by_property<'m>(
        self,
        property: impl Fn(&str) -> Option<&'m [u8]>,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Option<&'m str>, DescriptorFault> {
        let text = |name: &str| match property(name).filter(|bytes| !bytes.is_empty()).map(std::str::from_utf8) {
            Some(Err(_)) => Err(format!("is in a user property `{name}` that is not UTF-8")),
            Some(Ok(text)) => Ok(Some(text)),
            None => Ok(None),
        };
        if let Some(database) = text("JoinBase.database")? {
            return Ok(Some(database));
        }
        let before_dot = text("JoinBase.table")?.and_then(|table| table.split_once('.')).map(|(before, _)| before);
        Ok(before_dot.filter(|name| is_known(name)))
    }

    /// The database that a message names: `known` says which there are. Only [`Convention::Joinbase`] names any.
    pub fn database<'m>(
        self,
        topic: &'m str,
        property: impl Fn(&str) -> Option<&'m [u8]>,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<&'m str, DescriptorFault> {
        if let Some(database) = self.database_by_property(property, is_known)? {
            return Ok(database);
        }
        let mut levels = topic.split('/');
        match (levels.next(), levels.next(), levels.next(), levels.next()) {
            (Some(""), Some(database), Some(_), None) => Ok(database),
            _ => Err("is neither in the topic, which is not `/DB/TABLE`, nor in the user property \
                      `JoinBase.database`"
                .to_owned()),
        }
    }
}

impl TableName {
    /// A name as a convention gives it. The part before its dot is a schema, unless it names the database: in SQLite
    /// always, in Postgres if it is one of `databases`.
    pub(super) fn of_convention(
        convention: Convention,
        text: &str,
        has_schemas: bool,
        databases: &[String],
    ) -> Result<TableName, super::Forbidden> {
        let folded;
        let text = match convention {
            // Machbase's names have no case, and Postgres folds to lower case what is not quoted.
            Convention::Machbase => {
                folded = text.to_lowercase();
                &folded
            }
            Convention::Joinbase => text,
        };
        let mut name = TableName::parse(text)?;
        let is_database = |schema: &String| !has_schemas || databases.contains(schema);
        if name.schema.as_ref().is_some_and(is_database) {
            name.schema = None;
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Heading, Notation, TimeFormat};

    fn address(convention: Convention, topic: &str, properties: &[(&str, &'static str)]) -> Result<Address, String> {
        convention.address(topic, |name| {
            let found = properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_bytes())
        })
    }

    #[test]
    fn joinbase_names_its_table_in_topic_or_properties() {
        let table = |topic, properties: &[(&str, &'static str)]| {
            address(Convention::Joinbase, topic, properties).map(|address| address.table)
        };
        assert_eq!(table("/abc/t", &[]).unwrap(), "abc.t");
        assert_eq!(table("/abc/t", &[("joinbase.TABLE", "u")]).unwrap(), "abc.u");
        assert_eq!(table("x/y/z", &[("JoinBase.database", "d"), ("JoinBase.table", "u")]).unwrap(), "d.u");
        assert_eq!(table("x", &[("JoinBase.table", "u")]).unwrap(), "u");
        for topic in ["abc/t", "/abc", "/abc/t/u", ""] {
            assert!(table(topic, &[]).unwrap_err().contains("/DB/TABLE"), "{topic}");
        }
    }

    #[test]
    fn machbase_names_table_and_form_in_topic_and_properties() {
        let of = |topic, properties: &[(&str, &'static str)]| address(Convention::Machbase, topic, properties);
        let plain = of("db/append/EXAMPLE", &[]).unwrap();
        assert_eq!((plain.table.as_str(), plain.form), ("EXAMPLE", Some(Form::default())));
        let form = of(
            "db/write/example:json",
            &[
                ("format", "csv"),
                ("timeformat", "s"),
                ("header", "skip"),
                ("method", "insert"),
                ("reply", "x"),
                ("other", "y"),
            ],
        );
        let form = form.unwrap().form.unwrap();
        assert_eq!((form.notation, form.header, form.time), (Notation::Csv, Heading::Skip, TimeFormat::Seconds));
        for (option, value, why) in [
            ("format", "xml", "`format` has an unsupported format"),
            ("timeformat", "foo", "`timeformat` has a time format that is none of Machbase's"),
            ("tz", "Mars/Olympus", "`tz` has a time zone that this machine does not know"),
        ] {
            let refused = of("db/write/example", &[(option, value)]).unwrap_err();
            assert!(refused.contains(why) && !refused.contains(value), "{refused}");
        }
        assert!(of("iot/x", &[]).unwrap_err().contains("its topic is not"));
    }

    #[test]
    fn a_database_in_the_name_is_no_schema() {
        let name = |convention, text, has_schemas| {
            TableName::of_convention(convention, text, has_schemas, &["telemetry".to_owned()]).unwrap().to_string()
        };
        assert_eq!(name(Convention::Joinbase, "abc.T", true), "abc.T");
        assert_eq!(name(Convention::Joinbase, "telemetry.t", true), "t");
        assert_eq!(name(Convention::Joinbase, "abc.t", false), "t");
        assert_eq!(name(Convention::Machbase, "EXAMPLE", true), "example");
        assert_eq!(name(Convention::Machbase, "owner.EXAMPLE", false), "example");
    }
}
