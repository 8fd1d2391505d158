//! The binds of a rule's own statement, as columns.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::{TYPE_DEPTH_MAX, TYPES, TypeRow, resolve, type_row};
use crate::schema::{Column, Parameter};

/// The names of types, in their order.
const NAMES: &str = "SELECT pg_catalog.format_type(u.t, NULL) \
                     FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY AS u (t, n) ORDER BY u.n";

/// Where the description of a table's types begins with the types of its columns.
const BEGINNING: &str = "WITH RECURSIVE reached(oid) AS (";
const FOLLOWED: &str = "UNION\n";

/// As [`TYPES`], for types in place of a table's columns: `$1`.
fn types() -> String {
    let followed = TYPES.find(FOLLOWED).map_or("", |at| &TYPES[at..]);
    format!("{BEGINNING}SELECT pg_catalog.unnest($1::pg_catalog.oid[]) {followed}")
}

/// A column of that name for each of these types, in their order; within the transaction that `client` is in, one round
/// trip.
pub(in crate::sink::postgres) async fn columns(
    client: &Client,
    binds: &[Arc<str>],
    oids: &Vec<u32>,
) -> Result<Vec<Column>, Error> {
    let (types, parameters) = (types(), [(oids as _, Type::OID_ARRAY)]);
    let (names, types) =
        tokio::join!(biased; client.query_typed(NAMES, &parameters), client.query_typed(&types, &parameters));
    let (names, types) = (names?, types?);
    let types = types.iter().map(type_row).collect::<Result<HashMap<u32, TypeRow>, Error>>()?;
    let described = binds.iter().zip(oids).zip(&names);
    described.map(|((bind, oid), name)| column(bind, *oid, name, &types)).collect()
}

/// A bind is declared with the type that the server determined, under its domains too, so that the server finds the
/// same functions and columns again. The server parses the text, as it would for a column with a cast.
fn column(bind: &str, oid: u32, name: &Row, types: &HashMap<u32, TypeRow>) -> Result<Column, Error> {
    let resolved = resolve(oid, -1, types, TYPE_DEPTH_MAX);
    Ok(Column {
        name: bind.to_owned(),
        column_type: resolved.column_type,
        type_name: name.try_get(0)?,
        not_null: resolved.not_null,
        // A domain's default is none for a bind.
        has_default: false,
        generated: false,
        parameter: Parameter { oid, array: 0, collation: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_followed_from_those_that_are_given() {
        assert!(TYPES.contains(BEGINNING));
        let asked = types();
        assert_eq!(asked.matches("$1").count(), 1);
        assert!(!asked.contains("$2") && asked.contains("FROM reached r\n    JOIN"), "{asked}");
    }
}
