//! Live tables, read by `PRAGMA table_xinfo`, and `CREATE TABLE` for missing ones.
//!
//! [`crate::schema::SqliteDialect`] defines the meaning of a declared type.
//!
//! The bounds in an R-tree have 32 bits: `rtree` has alternating LowerBound and UpperBound, `rtree_i32` has Int4.
//! SQLite would store 0 for a NULL there and wrap a larger integer around. So they are treated as NOT NULL and checked.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::codes::{Moment, sink_error};
use super::witness;
use crate::rule::{DeclaredType, NewIndex, NewTable, TableName, columns_sql, primary_key_sql, quote};
use crate::schema::{Column, ColumnType, Dialect, Intake, Keys, Parameter, SqliteDialect, TableSchema, Witness};
use crate::sink::{Class, LiveIndex, SinkError};

/// The only schema that outlives a connection.
const SCHEMA: &str = "main";

/// What is known of a table besides its columns.
struct Shape {
    is_view: bool,
    is_virtual: bool,
    without_rowid: bool,
    strict: bool,
    /// Whether the primary key has an index of its own; if not, a lone INTEGER key is another name for the rowid.
    key_has_index: bool,
}

/// The live table; `None` if there is none.
pub(super) fn describe(connection: &Connection, table: &TableName) -> Result<Option<TableSchema>, SinkError> {
    if let Some(schema) = table.schema.as_deref().filter(|schema| !schema.eq_ignore_ascii_case(SCHEMA)) {
        return Err(SinkError {
            class: Class::Table,
            code: "schema".to_owned(),
            message: format!("cannot read table {table}: SQLite has no schema {schema}, only {SCHEMA}"),
            advice: "take the schema off the rule's table",
        });
    }
    let failed =
        |error: rusqlite::Error| sink_error(&format!("cannot read table {table}'s columns"), &error, Moment::Elsewhere);
    // The version and what is described under it, of one moment.
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let version = witness::schema_version(&transaction).map_err(failed)?;
    let Some(shape) = shape(&transaction, &table.name).map_err(failed)? else { return Ok(None) };
    let (mut columns, primary_key) = columns(&transaction, &table.name, &shape).map_err(failed)?;
    if let Some(rtree) = rtree(&transaction, &table.name).map_err(failed)? {
        rtree.adjust(&mut columns);
    }
    let witness = Witness::SchemaVersion(version);
    let intake = Intake { by_insert: shape.is_view, diverts: false };
    let keys = keys(&transaction, &table.name, &shape, &columns, &primary_key).map_err(failed)?;
    Ok(Some(TableSchema { primary_key, keys, witness, intake, ..TableSchema::new(table.clone(), columns) }))
}

/// An R-tree: a virtual table whose first column is the row's number, then bounds, then columns of any kind.
struct RTree {
    is_integer: bool,
    bounds: usize,
}

/// What the statement says that made the table, if that is an R-tree.
fn rtree(connection: &Connection, table: &str) -> rusqlite::Result<Option<RTree>> {
    let sql: Option<String> = connection
        .prepare_cached(
            "SELECT sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type = 'table' AND rootpage = 0",
        )?
        .query_row([table], |row| row.get(0))
        .optional()?;
    Ok(sql.as_deref().and_then(RTree::of))
}

impl RTree {
    fn of(sql: &str) -> Option<RTree> {
        let (head, arguments) = sql.rsplit_once(')')?.0.split_once('(')?;
        let module = head.split_ascii_whitespace().next_back()?.to_ascii_lowercase();
        let is_integer = match module.as_str() {
            "rtree" => false,
            "rtree_i32" => true,
            _ => return None,
        };
        let bounds =
            arguments.split(',').skip(1).take_while(|argument| !argument.trim_start().starts_with('+')).count();
        Some(RTree { is_integer, bounds })
    }

    fn adjust(&self, columns: &mut [Column]) {
        if let Some(id) = columns.first_mut() {
            id.has_default = true;
        }
        for (index, bound) in columns.iter_mut().skip(1).take(self.bounds).enumerate() {
            bound.not_null = true;
            (bound.column_type, bound.type_name) = match (self.is_integer, index % 2) {
                (true, _) => (ColumnType::Int4, "32-bit integer in an R-tree".to_owned()),
                (false, 0) => (ColumnType::LowerBound, "lower bound in an R-tree".to_owned()),
                (false, _) => (ColumnType::UpperBound, "upper bound in an R-tree".to_owned()),
            };
        }
    }
}

fn shape(connection: &Connection, table: &str) -> rusqlite::Result<Option<Shape>> {
    let flags = connection
        .prepare_cached("SELECT type, wr, strict FROM pragma_table_list(?1) WHERE schema = ?2")?
        .query_row([table, SCHEMA], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((kind, without_rowid, strict)) = flags else { return Ok(None) };
    let (is_view, is_virtual) = (kind == "view", kind == "virtual");
    let key_has_index = connection
        .prepare_cached("SELECT 1 FROM pragma_index_list(?1, ?2) WHERE origin = 'pk'")?
        .exists([table, SCHEMA])?;
    Ok(Some(Shape { is_view, is_virtual, without_rowid, strict, key_has_index }))
}

fn columns(connection: &Connection, table: &str, shape: &Shape) -> rusqlite::Result<(Vec<Column>, Vec<String>)> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1, ?2)",
    )?;
    let mut rows = statement.query([table, SCHEMA])?;
    let mut columns = Vec::new();
    let mut key: Vec<(i64, usize)> = Vec::new();
    while let Some(row) = rows.next()? {
        let type_name: String = row.get(1)?;
        // 0 plain, 1 hidden in a virtual table, 2 generated when read, 3 generated and stored.
        let hidden: i64 = row.get(5)?;
        if hidden == 1 {
            continue;
        }
        let generated = hidden >= 2;
        let place: i64 = row.get(4)?;
        if place > 0 {
            key.push((place, columns.len()));
        }
        columns.push(Column {
            name: row.get(0)?,
            column_type: SqliteDialect::type_of(&type_name, shape.strict),
            type_name,
            not_null: row.get(2)?,
            has_default: generated || row.get(3)?,
            generated,
            parameter: Parameter::default(),
        });
    }
    key.sort_unstable();
    if let [(_, only)] = key[..]
        && columns[only].type_name.eq_ignore_ascii_case("INTEGER")
        && !shape.without_rowid
        && !shape.key_has_index
    {
        columns[only].has_default = true;
    }
    let primary_key = key.iter().map(|&(_, index)| columns[index].name.clone()).collect();
    Ok((columns, primary_key))
}

/// What `ON CONFLICT` can name: the primary key, and unique indexes that are not partial and have no expression.
fn keys(
    connection: &Connection,
    table: &str,
    shape: &Shape,
    columns: &[Column],
    primary_key: &[String],
) -> rusqlite::Result<Keys> {
    if shape.is_view {
        return Ok(Keys::Never("is a view, and SQLite takes no rows by key there: write into the table behind it"));
    }
    if shape.is_virtual {
        return Ok(Keys::Never("is a virtual table, and SQLite takes no rows by key there"));
    }
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    // A lone INTEGER key, another name for the rowid, has no index.
    let primary: Box<[usize]> = primary_key.iter().filter_map(place).collect();
    let mut keys: Vec<Box<[usize]>> = Vec::from_iter((!primary.is_empty()).then_some(primary));
    let mut indexes = connection.prepare_cached(
        "SELECT name FROM pragma_index_list(?1, ?2) WHERE \"unique\" AND NOT partial AND origin <> 'pk' \
         ORDER BY seq DESC",
    )?;
    let mut of_index =
        connection.prepare_cached("SELECT name FROM pragma_index_xinfo(?1, ?2) WHERE key ORDER BY seqno")?;
    for index in indexes.query_map([table, SCHEMA], |row| row.get::<_, String>(0))? {
        // An expression has no name, and is in no place.
        let names = of_index.query_map([index?.as_str(), SCHEMA], |row| row.get::<_, Option<String>>(0))?;
        let places = names.map(|name| Ok(name?.as_ref().and_then(place))).collect::<rusqlite::Result<Option<_>>>()?;
        keys.extend(places);
    }
    Ok(Keys::Known(keys))
}

/// The `CREATE TABLE` for a missing table, with its indexes.
pub(super) fn create_table_sql(table: &TableName, new: &NewTable<'_>) -> String {
    let columns = new.columns.iter().map(|(name, declared)| {
        let is_key = new.key.iter().any(|key| key.eq_ignore_ascii_case(name));
        let column = format!("    {} {}", quote(name), SqliteDialect::type_sql(declared));
        match (is_key, declared) {
            // As a lone INTEGER key it would be another name for the rowid, and NULL would become a number.
            (true, DeclaredType::Int) if new.key.len() == 1 => format!("    {} INT NOT NULL", quote(name)),
            // SQLite lets keys be NULL.
            (true, _) => format!("{column} NOT NULL"),
            (false, _) => column,
        }
    });
    let columns: Vec<String> = columns.chain(primary_key_sql(&new.key)).collect();
    let mut sql = format!("CREATE TABLE IF NOT EXISTS {} (\n{}\n)", table.quoted(), columns.join(",\n"));
    for index in &new.indexes {
        sql = format!("{sql};\n{}", index_sql(table, index));
    }
    sql
}

pub(super) fn index_sql(table: &TableName, index: &NewIndex<'_>) -> String {
    // The index is created in the schema of its own name; the table's bare name is resolved in the same schema.
    let (name, on) = (&index.name, quote(&table.name));
    let name = TableName { schema: table.schema.clone(), name: name.clone() }.quoted();
    format!("CREATE INDEX {name} ON {on} ({})", columns_sql(&index.columns))
}

/// Makes the table and its indexes in one transaction; if a table has its name already, nothing.
pub(super) fn create_table(
    connection: &mut Connection,
    table: &TableName,
    new: &NewTable<'_>,
) -> Result<String, SinkError> {
    let has = |name: &String| new.columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
    if let Some(missing) = new.keyed().iter().find(|name| !has(name)) {
        // SQLite takes the quoted name of no column for a text, and would make an index of that.
        return Err(SinkError {
            class: Class::Table,
            code: "column".to_owned(),
            message: format!(
                "cannot create table {table}: its primary key or an index names {missing}, which is no column"
            ),
            advice: "correct `create`, or let the rule fill the column",
        });
    }
    let create = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let names: Vec<String> = transaction
            .prepare("SELECT name FROM sqlite_schema")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let is_taken = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let mut new = new.clone();
        // A table that was renamed keeps the names of its indexes.
        new.name_indexes(&table.name, is_taken);
        let sql = create_table_sql(table, &new);
        if shape(&transaction, &table.name)?.is_none() {
            transaction.execute_batch(&sql)?;
            transaction.commit()?;
        }
        Ok(sql)
    };
    create(connection).map_err(|error| sink_error("cannot create the table", &error, Moment::Elsewhere))
}

/// The indexes of a table.
pub(super) fn indexes(connection: &Connection, table: &TableName) -> Result<Vec<LiveIndex>, SinkError> {
    let read = || {
        let mut indexes = connection.prepare("SELECT name, partial FROM pragma_index_list(?1, ?2)")?;
        let mut of_index =
            connection.prepare("SELECT name FROM pragma_index_xinfo(?1, ?2) WHERE key ORDER BY seqno")?;
        let indexes = indexes.query_map([table.name.as_str(), SCHEMA], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut found = Vec::new();
        for index in indexes {
            let (name, is_partial): (String, bool) = index?;
            let names = of_index.query_map([name.as_str(), SCHEMA], |row| row.get::<_, Option<String>>(0))?;
            // An expression has no name.
            let mut columns = names.collect::<rusqlite::Result<Vec<_>>>()?;
            columns.truncate(columns.iter().position(Option::is_none).unwrap_or(columns.len()));
            let columns = if is_partial { Vec::new() } else { columns.into_iter().flatten().collect() };
            found.push(LiveIndex { name, columns });
        }
        Ok(found)
    };
    let failed = |error| sink_error(&format!("cannot read table {table}'s indexes"), &error, Moment::Elsewhere);
    read().map_err(failed)
}

/// An `ALTER TABLE` for each column: SQLite adds one at a time.
pub(super) fn add_columns_sql(table: &TableName, columns: &[(&str, DeclaredType)]) -> String {
    let add = |(name, declared): &(&str, DeclaredType)| {
        format!("ALTER TABLE {} ADD COLUMN {} {}", table.quoted(), quote(name), SqliteDialect::type_sql(declared))
    };
    columns.iter().map(add).collect::<Vec<_>>().join(";\n")
}

/// Adds those that are not there, in one transaction.
pub(super) fn add_columns(
    connection: &mut Connection,
    table: &TableName,
    columns: &[(&str, DeclaredType)],
) -> Result<(), SinkError> {
    let add = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let there: Vec<String> = transaction
            .prepare("SELECT name FROM pragma_table_xinfo(?1, ?2)")?
            .query_map([table.name.as_str(), SCHEMA], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let is_there = |name: &str| there.iter().any(|known| known.eq_ignore_ascii_case(name));
        let lacking: Vec<_> = columns.iter().filter(|(name, _)| !is_there(name)).cloned().collect();
        transaction.execute_batch(&add_columns_sql(table, &lacking))?;
        transaction.commit()
    };
    add(connection).map_err(|error| sink_error("cannot add columns to the table", &error, Moment::Elsewhere))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_on_conflict_can_name() {
        let connection = Connection::open_in_memory().unwrap();
        let keys = |ddl: &str| {
            connection.execute_batch(&format!("DROP TABLE IF EXISTS t; {ddl}")).unwrap();
            describe(&connection, &TableName { schema: None, name: "T".to_owned() }).unwrap().unwrap().keys
        };
        let known = |keys: &[&[usize]]| Keys::Known(keys.iter().map(|key| Box::from(*key)).collect());
        assert_eq!(keys("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)"), known(&[&[0], &[1]]));
        assert_eq!(keys("CREATE TABLE t (a, b, c, PRIMARY KEY (c, a)) WITHOUT ROWID"), known(&[&[2, 0]]));
        let indexes = "CREATE TABLE t (a, b, c AS (a + 1)); CREATE UNIQUE INDEX one ON t (B COLLATE NOCASE, a);
                       CREATE UNIQUE INDEX part ON t (a) WHERE b > 0; CREATE UNIQUE INDEX made ON t (lower(b));
                       CREATE INDEX plain ON t (b)";
        assert_eq!(keys(indexes), known(&[&[1, 0]]));
        assert_eq!(keys("CREATE TABLE t (a)"), known(&[]));
        assert!(matches!(keys("CREATE VIRTUAL TABLE t USING rtree (id, x0, x1)"), Keys::Never(_)));
    }

    #[test]
    fn the_bounds_of_an_r_tree_are_known_as_such() {
        let connection = Connection::open_in_memory().unwrap();
        let described = |ddl: &str| {
            connection.execute_batch(ddl).unwrap();
            let table = TableName { schema: None, name: "R".to_owned() };
            let columns = describe(&connection, &table).unwrap().unwrap().columns;
            connection.execute_batch("DROP TABLE r").unwrap();
            columns.into_iter().map(|column| (column.name, column.column_type, column.not_null)).collect::<Vec<_>>()
        };
        let column = |name: &str, column_type, not_null| (name.to_owned(), column_type, not_null);
        assert_eq!(
            described("CREATE VIRTUAL TABLE r USING RTREE (id, x0, x1, y0, y1, +note TEXT)"),
            [
                column("id", ColumnType::Int8, false),
                column("x0", ColumnType::LowerBound, true),
                column("x1", ColumnType::UpperBound, true),
                column("y0", ColumnType::LowerBound, true),
                column("y1", ColumnType::UpperBound, true),
                column("note", ColumnType::Any, false),
            ]
        );
        assert_eq!(
            described("create virtual table r using rtree_i32(id,a,b)")[1..],
            [column("a", ColumnType::Int4, true), column("b", ColumnType::Int4, true)]
        );
        assert_eq!(described("CREATE TABLE r (x0 REAL)"), [column("x0", ColumnType::Float8, false)]);
    }

    #[test]
    fn a_created_table_quotes_its_names_and_keeps_long_decimals_as_text() {
        let table = TableName { schema: None, name: "odd \"name".to_owned() };
        let columns = vec![
            ("time", DeclaredType::Timestamptz),
            ("price", DeclaredType::Decimal(Some((12, 2)))),
            ("wei", DeclaredType::Decimal(Some((30, 0)))),
        ];
        let new = NewTable::new(&table.name, columns, vec!["time"], vec![vec!["price", "wei"]]);
        assert_eq!(
            create_table_sql(&table, &new),
            "CREATE TABLE IF NOT EXISTS \"odd \"\"name\" (\n    \"time\" TIMESTAMP NOT NULL,\n    \"price\" DECIMAL(12,2),\n    \
             \"wei\" DECIMAL_TEXT(30,0),\n    PRIMARY KEY (\"time\")\n);\n\
             CREATE INDEX \"odd \"\"name_price_wei_idx\" ON \"odd \"\"name\" (\"price\", \"wei\")"
        );
    }

    fn new_table<'a>(name: &str, key: Vec<&'a str>, indexes: Vec<Vec<&'a str>>) -> NewTable<'a> {
        NewTable::new(name, vec![("n", DeclaredType::Int), ("s", DeclaredType::Text)], key, indexes)
    }

    #[test]
    fn a_primary_key_takes_no_null_and_makes_no_number_of_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        for (name, key) in [("one", vec!["N"]), ("two", vec!["s", "n"])] {
            let table = TableName { schema: None, name: name.to_owned() };
            create_table(&mut connection, &table, &new_table(name, key.clone(), vec![])).unwrap();
            let live = describe(&connection, &table).unwrap().unwrap();
            let of_key: Vec<&Column> = live.columns.iter().filter(|column| column.not_null).collect();
            assert!(of_key.len() == key.len() && of_key.iter().all(|column| !column.has_default), "{live:?}");
            assert_eq!(live.columns[0].column_type, ColumnType::Int8);
            assert_eq!(live.primary_key.len(), key.len());
            assert!(connection.execute(&format!("INSERT INTO {name} VALUES (NULL, 'x')"), []).is_err());
            assert_eq!(connection.execute(&format!("INSERT INTO {name} VALUES (1, 'x')"), []).unwrap(), 1);
        }
    }

    #[test]
    fn indexes_are_made_with_their_table_or_not_at_all_and_find_a_name_that_is_free() {
        let mut connection = Connection::open_in_memory().unwrap();
        let table = |name: &str| TableName { schema: Some("main".to_owned()), name: name.to_owned() };
        let of = |connection: &Connection, name: &str| {
            let indexes = indexes(connection, &table(name)).unwrap().into_iter();
            indexes.map(|index| format!("{} {}", index.name, index.columns.join(","))).collect::<Vec<_>>()
        };
        let new = |name: &str| new_table(name, vec![], vec![vec!["n", "s"], vec!["s"]]);
        create_table(&mut connection, &table("t"), &new("t")).unwrap();
        assert_eq!(of(&connection, "t"), ["t_s_idx s", "t_n_s_idx n,s"]);
        // What is there is left as it is.
        create_table(&mut connection, &table("T"), &new_table("T", vec!["n"], vec![vec!["n"]])).unwrap();
        assert_eq!(of(&connection, "t").len(), 2);
        connection.execute_batch("ALTER TABLE t RENAME TO old").unwrap();
        let sql = create_table(&mut connection, &table("t"), &new("t")).unwrap();
        assert!(sql.contains("\"t_s_idx1\""), "{sql}");
        assert_eq!(of(&connection, "t"), ["t_s_idx1 s", "t_n_s_idx1 n,s"]);
        let unknown = new_table("u", vec![], vec![vec!["n"], vec!["other"]]);
        assert!(create_table(&mut connection, &table("u"), &unknown).is_err());
        assert!(describe(&connection, &table("u")).unwrap().is_none());
        let partial = "CREATE INDEX part ON t (s) WHERE n > 0; CREATE INDEX made ON t (s, lower(s), n)";
        connection.execute_batch(partial).unwrap();
        assert_eq!(of(&connection, "t")[..2], ["made s", "part "]);
    }
}
