//! Names for captures, tables and columns, derived from the received topics and fields.

use std::collections::BTreeSet;

/// Postgres' limit of identifiers.
const IDENTIFIER_BYTES_MAX: usize = 63;

const ROOMS: [&str; 26] = [
    "kitchen",
    "bath",
    "bathroom",
    "bedroom",
    "living",
    "livingroom",
    "living_room",
    "living-room",
    "garage",
    "garden",
    "hall",
    "hallway",
    "office",
    "attic",
    "basement",
    "cellar",
    "corridor",
    "dining",
    "diningroom",
    "dining_room",
    "laundry",
    "nursery",
    "terrace",
    "balcony",
    "toilet",
    "study",
];
const MEASUREMENTS: [&str; 34] = [
    "temperature",
    "temp",
    "humidity",
    "pressure",
    "battery",
    "voltage",
    "current",
    "power",
    "energy",
    "co2",
    "pm25",
    "pm10",
    "illuminance",
    "lux",
    "light",
    "motion",
    "occupancy",
    "contact",
    "door",
    "window",
    "rssi",
    "signal",
    "state",
    "status",
    "uptime",
    "level",
    "flow",
    "speed",
    "position",
    "brightness",
    "wind",
    "rain",
    "dewpoint",
    "moisture",
];

pub(super) fn is_room(level: &str) -> bool {
    ROOMS.contains(&level.to_ascii_lowercase().as_str())
}

/// Whether a level is one of many: numbers, addresses, identifiers.
pub(super) fn is_identifier(level: &str) -> bool {
    let digits = level.bytes().filter(u8::is_ascii_digit).count();
    let is_number = !level.is_empty() && digits == level.len();
    let hexadecimal = level.strip_prefix("0x").unwrap_or(level);
    let is_hexadecimal =
        hexadecimal.len() >= 6 && hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits > 0;
    is_number || is_hexadecimal || is_address(level) || has_identifying_end(level)
}

/// A MAC address or a UUID.
fn is_address(level: &str) -> bool {
    let parts: Vec<&str> = level.split([':', '-']).collect();
    let is_hexadecimal = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    is_hexadecimal && (lengths == [2; 6] || lengths == [8, 4, 4, 4, 12])
}

/// `shelly1-A4CF12`, `plug_3C71BF`: a name followed by at least six hexadecimal digits, one of them a digit.
fn has_identifying_end(level: &str) -> bool {
    const DIGITS_MIN: usize = 6;
    level.rsplit_once(['-', '_']).is_some_and(|(_, end)| {
        let is_hexadecimal = end.bytes().all(|byte| byte.is_ascii_hexdigit());
        end.len() >= DIGITS_MIN && is_hexadecimal && end.bytes().any(|byte| byte.is_ascii_digit())
    })
}

/// The text before the number at the end of a level; `None` if there is none, or if it belongs to the name.
pub(super) fn numbered(level: &str) -> Option<&str> {
    const NAMES: [&str; 8] = ["co2", "pm1", "pm2.5", "pm25", "pm10", "no2", "o3", "so2"];
    let stem = level.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_name = NAMES.contains(&level.to_ascii_lowercase().as_str());
    (stem.len() < level.len() && !stem.is_empty() && !is_name).then_some(stem)
}

/// What the values of a level have in common: `site1` and `site2` are sites.
pub(super) fn stem<'v>(values: impl IntoIterator<Item = &'v str>) -> Option<String> {
    const LETTERS_MIN: usize = 2;
    let mut stem: Option<&str> = None;
    let mut has_number = true;
    for value in values {
        let letters = value.trim_end_matches(|c: char| c.is_ascii_digit() || ['-', '_', '.'].contains(&c));
        has_number &= letters.len() < value.len();
        if stem.is_some_and(|stem| stem != letters) {
            return None;
        }
        stem = Some(letters);
    }
    let is_word = |stem: &&str| stem.len() >= LETTERS_MIN && stem.bytes().all(|byte| byte.is_ascii_alphabetic());
    stem.filter(|_| has_number).filter(is_word).map(str::to_ascii_lowercase)
}

/// A name for a level that varies. `before` is the level in front of it, where that is fixed.
pub(super) fn capture(values: &BTreeSet<&str>, before: Option<&str>, is_last: bool, is_scalar: bool) -> String {
    let all = |is: &dyn Fn(&str) -> bool| values.iter().all(|value| is(value));
    let most = |words: &[&str]| {
        values.iter().filter(|value| words.contains(&value.to_ascii_lowercase().as_str())).count() * 2 > values.len()
    };
    if let Some(stem) = stem(values.iter().copied()) {
        return stem;
    }
    if most(&ROOMS) {
        return "room".to_owned();
    }
    if most(&MEASUREMENTS) {
        return "measurement".to_owned();
    }
    let singular = before.map(str::to_ascii_lowercase).and_then(|before| {
        let one = before.strip_suffix("ies").map(|stem| format!("{stem}y"));
        one.or_else(|| {
            before.strip_suffix('s').filter(|word| word.len() > 2 && !word.ends_with('s')).map(str::to_owned)
        })
    });
    if let Some(singular) = singular.filter(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic())) {
        return match singular.as_str() {
            // `status/…`, as some devices have it, is no plural.
            "statu" => "part".to_owned(),
            _ => singular,
        };
    }
    match () {
        () if all(&|value| value.len() <= 2 && value.bytes().all(|byte| byte.is_ascii_digit())) => "channel".to_owned(),
        () if all(&is_identifier) => "device".to_owned(),
        () if is_last && is_scalar => "measurement".to_owned(),
        () => "device".to_owned(),
    }
}

/// A name that tables, columns and captures can have on both engines, without quotes.
pub(super) fn identifier(text: &str, otherwise: &str) -> String {
    let mut name = String::new();
    let mut was_lower = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            // `deviceId` is device_id.
            if c.is_ascii_uppercase() && was_lower {
                name.push('_');
            }
            was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
            name.push(c.to_ascii_lowercase());
        } else {
            was_lower = false;
            if !name.ends_with('_') && !name.is_empty() {
                name.push('_');
            }
        }
    }
    name.truncate(IDENTIFIER_BYTES_MAX - 4);
    let name = name.trim_matches('_').to_owned();
    match name.chars().next() {
        None => otherwise.to_owned(),
        Some(first) if first.is_ascii_digit() => format!("{otherwise}_{name}"),
        Some(_) => name,
    }
}

/// A name that is not taken yet.
pub(super) fn unique(name: String, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.clone();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}_{number}");
        number += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_told_from_words() {
        for level in ["17", "0x00158d0001a2b3c4", "a4:cf:12:00:11:22", "A4CF12F45E3B", "shelly1-A4CF12", "plug_3C71BF"]
        {
            assert!(is_identifier(level), "{level}");
        }
        for level in ["temperature", "STATE", "living-room", "facade", "decade", "kitchen-lamp", ""] {
            assert!(!is_identifier(level), "{level}");
        }
    }

    #[test]
    fn captures_are_named_from_their_values() {
        let named =
            |values: &[&str], before: Option<&str>| capture(&values.iter().copied().collect(), before, false, false);
        assert_eq!(named(&["site1", "site2"], None), "site");
        assert_eq!(named(&["kitchen", "bath", "x"], None), "room");
        assert_eq!(named(&["lamp", "plug"], Some("devices")), "device");
        assert_eq!(named(&["gw", "edge"], Some("batteries")), "battery");
        assert_eq!(named(&["0", "1"], Some("relay")), "channel");
        assert_eq!(named(&["a4:cf:12:00:11:22"], None), "device");
    }

    #[test]
    fn names_need_no_quotes() {
        assert_eq!(identifier("deviceId", "x"), "device_id");
        assert_eq!(identifier("POWER1", "x"), "power1");
        assert_eq!(identifier("AM2301.Temperature", "x"), "am2301_temperature");
        assert_eq!(identifier("2nd", "column"), "column_2nd");
        assert_eq!(identifier("+/é", "column"), "column");
    }
}
