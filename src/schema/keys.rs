//! The columns that identify the rows of a table.

/// What `ON CONFLICT (columns)` can name in a statement on the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// The primary key and the unique indexes that hold for every row at once: neither partial nor deferrable, on columns alone.
    /// Each as indexes into the table's columns, in the index's order; the primary key first.
    Known(Vec<Box<[usize]>>),
    /// The keys of a view or foreign table are those of the table below it, which the database reports at the first
    /// row.
    Hidden,
    /// No row can go into such a table by key; why, as the rest of a sentence that begins with the table.
    Never(&'static str),
}

impl Keys {
    /// The key of exactly these columns, in the order of its index; as they come if the table does not tell its keys. `None`
    /// if there is none.
    pub fn find(&self, columns: &[usize]) -> Option<Box<[usize]>> {
        let is_it = |key: &[usize]| key.len() == columns.len() && columns.iter().all(|column| key.contains(column));
        match self {
            Keys::Known(keys) => keys.iter().find(|key| is_it(key)).cloned(),
            Keys::Hidden => Some(columns.into()),
            Keys::Never(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_columns_in_any_order_and_by_no_part_of_them() {
        let keys = Keys::Known(vec![[0, 2].into(), [1].into()]);
        assert_eq!(keys.find(&[2, 0]).as_deref(), Some(&[0, 2][..]));
        assert_eq!(keys.find(&[1]).as_deref(), Some(&[1][..]));
        assert_eq!(keys.find(&[0]), None);
        assert_eq!(keys.find(&[0, 1, 2]), None);
        assert_eq!(Keys::Hidden.find(&[3]).as_deref(), Some(&[3][..]));
        assert_eq!(Keys::Never("is a view").find(&[3]), None);
    }
}
