//! A table to create, with its primary key and indexes.

use super::DeclaredType;
use super::table_name::{IDENTIFIER_BYTES_MAX, quote};

/// How the name of an index ends, as Postgres has it.
const INDEX_END: &str = "_idx";

/// Columns, primary key and indexes of a table that is not there.
#[derive(Debug, Clone)]
pub struct NewTable<'a> {
    pub columns: Vec<(&'a str, DeclaredType)>,
    /// The columns of its primary key; empty: it has none.
    pub key: Vec<&'a str>,
    pub indexes: Vec<NewIndex<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIndex<'a> {
    /// For an engine that does not name indexes itself.
    pub name: String,
    pub columns: Vec<&'a str>,
}

impl<'a> NewTable<'a> {
    /// `indexes` by their columns; `table` is what their names begin with.
    pub fn new(
        table: &str,
        columns: Vec<(&'a str, DeclaredType)>,
        key: Vec<&'a str>,
        indexes: Vec<Vec<&'a str>>,
    ) -> NewTable<'a> {
        let indexes = indexes.into_iter().map(|columns| NewIndex { name: String::new(), columns }).collect();
        let mut new = NewTable { columns, key, indexes };
        new.name_indexes(table, |_| false);
        new
    }

    /// Gives each index a name that is not taken.
    pub fn name_indexes(&mut self, table: &str, is_taken: impl Fn(&str) -> bool) {
        for at in 0..self.indexes.len() {
            let (named, rest) = self.indexes.split_at_mut(at);
            let is_ours = |name: &str| named.iter().any(|index| index.name.eq_ignore_ascii_case(name));
            rest[0].name = index_name(table, &rest[0].columns, |name| is_ours(name) || is_taken(name));
        }
    }

    /// The columns of its primary key and indexes.
    pub fn keyed(&self) -> Vec<String> {
        let mut keyed: Vec<String> = Vec::new();
        for name in self.key.iter().chain(self.indexes.iter().flat_map(|index| &index.columns)) {
            if !keyed.iter().any(|known| known == name) {
                keyed.push((*name).to_owned());
            }
        }
        keyed
    }

    /// What it has besides columns, as the rest of a sentence; empty if it has nothing.
    pub fn besides(&self) -> String {
        let key = (!self.key.is_empty()).then(|| format!("the primary key ({})", self.key.join(", ")));
        let indexes: Vec<String> = self.indexes.iter().map(|index| format!("({})", index.columns.join(", "))).collect();
        let kind = if indexes.len() == 1 { "an index" } else { "indexes" };
        let indexes = (!indexes.is_empty()).then(|| format!("{kind} on {}", indexes.join(", ")));
        key.into_iter().chain(indexes).collect::<Vec<_>>().join(" and ")
    }
}

/// The line of a `CREATE TABLE` that makes these columns its primary key; none for none.
pub fn primary_key_sql(key: &[&str]) -> Option<String> {
    (!key.is_empty()).then(|| format!("    PRIMARY KEY ({})", columns_sql(key)))
}

/// Columns as a key or an index lists them.
pub fn columns_sql(columns: &[&str]) -> String {
    columns.iter().copied().map(quote).collect::<Vec<_>>().join(", ")
}

/// The table's name and the columns', cut to what an identifier may have, and numbered if the name is taken: as Postgres
/// names indexes.
fn index_name(table: &str, columns: &[&str], is_taken: impl Fn(&str) -> bool) -> String {
    let whole = format!("{table}_{}", columns.join("_"));
    let of = |number: Option<u32>| {
        let end = number.map_or_else(|| INDEX_END.to_owned(), |number| format!("{INDEX_END}{number}"));
        let mut cut = whole.len().min(IDENTIFIER_BYTES_MAX - end.len());
        while !whole.is_char_boundary(cut) {
            cut -= 1;
        }
        format!("{}{end}", &whole[..cut])
    };
    let mut names = std::iter::once(None).chain((1..).map(Some)).map(of);
    names.find(|name| !is_taken(name)).expect("there are more numbers than indexes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_indexes_fit_an_identifier_and_are_taken_once() {
        assert_eq!(index_name("t", &["a", "b"], |_| false), "t_a_b_idx");
        assert_eq!(index_name("t", &["a", "b"], |name| name == "t_a_b_idx"), "t_a_b_idx1");
        // A letter of two bytes is not cut in half.
        let mut names: Vec<String> = Vec::new();
        for _ in 0..12 {
            names.push(index_name(&"x".repeat(30), &["ä".repeat(20).as_str()], |name| {
                names.iter().any(|taken| taken == name)
            }));
        }
        assert!(names.iter().all(|name| (62..=63).contains(&name.len())), "{names:?}");
        assert!(names[0].ends_with("ä_idx") && names[11].ends_with("ä_idx11"), "{names:?}");
        let columns = || vec![vec!["a", "b_c"], vec!["a_b", "c"], vec!["A_B", "C"]];
        let new = NewTable::new("t", Vec::new(), Vec::new(), columns());
        let names: Vec<&str> = new.indexes.iter().map(|index| index.name.as_str()).collect();
        assert_eq!(names, ["t_a_b_c_idx", "t_a_b_c_idx1", "t_A_B_C_idx2"]);
    }

    #[test]
    fn what_a_table_has_besides_columns_is_said() {
        let of = |key: &[&'static str], indexes: Vec<Vec<&'static str>>| {
            NewTable::new("t", Vec::new(), key.to_vec(), indexes).besides()
        };
        assert_eq!(of(&[], vec![]), "");
        assert_eq!(of(&["a", "b"], vec![]), "the primary key (a, b)");
        assert_eq!(of(&[], vec![vec!["a"]]), "an index on (a)");
        assert_eq!(of(&["a"], vec![vec!["b"], vec!["c", "d"]]), "the primary key (a) and indexes on (b), (c, d)");
    }
}
