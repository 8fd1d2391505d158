//! Words that may always be shown in messages: the keys of bridge.yaml, and the parameters of its Postgres addresses.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::decode::POSTGRES_PARAMETERS;
use super::schema;

/// Keys that come with later versions. Whoever adds one to the schema takes it out here.
const LATER: [&str; 5] = ["every", "hypertable", "keep_by", "partition_by", "sparkplug"];

/// Whether it is a key of bridge.yaml, in whichever section, or a parameter of an address.
pub(super) fn is_known_key(key: &str) -> bool {
    static ALL: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
        let mut words = schema::names();
        words.extend(LATER);
        words.extend(POSTGRES_PARAMETERS.map(|(name, _)| name));
        words
    });
    ALL.contains(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_schema_comes_no_later() {
        let names = schema::names();
        let taken: Vec<&str> = LATER.into_iter().filter(|key| names.contains(key)).collect();
        assert_eq!(taken, Vec::<&str>::new(), "take them out of LATER");
        assert!(LATER.is_sorted());
    }
}
