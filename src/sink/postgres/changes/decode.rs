//! From a captured row, as `row_to_json` wrote it under the function's settings, to its published form.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::config::TimeForm;
use crate::sink::changes::{fields, object, push_base64, push_timestamp};
use crate::sink::literal::unhex;

/// The row with bytes in base64 and timestamps in the requested form. `forms` says which columns these are. A value in
/// another form than the function writes stays unchanged.
pub(super) fn decode(row: String, forms: Option<&str>, time: TimeForm) -> String {
    let Some(forms) = forms.and_then(fields) else { return row };
    let forms: HashMap<&str, &str> = forms.iter().map(|(name, form)| (name.as_str(), form.trim_matches('"'))).collect();
    let Some(members) = fields(&row) else { return row };
    object(members.iter().map(|(name, value)| {
        let form = forms.get(name.as_str()).copied();
        (name.as_str(), move |out: &mut String| match form {
            Some(form) => push_value(value, form, time, out),
            None => out.push_str(value),
        })
    }))
}

/// A value, or an array of values.
fn push_value(value: &str, form: &str, time: TimeForm, out: &mut String) {
    if value.starts_with('[')
        && let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value)
    {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_value(item.get(), form, time, out);
        }
        out.push(']');
        return;
    }
    // NULL is no string.
    let Ok(text) = serde_json::from_str::<String>(value) else { return out.push_str(value) };
    match (form, text.strip_prefix("\\x").map(unhex)) {
        ("b", Some(Some(bytes))) => push_base64(&bytes, out),
        ("b", _) => out.push_str(value),
        _ => push_timestamp(&text, time, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_timestamps_get_their_form_and_nothing_else_changes() {
        let row = r#"{"id":9007199254740993,"ts":"2026-11-28T22:10:00.5+00:00","data":"\\x00ff","note":"\\x00ff","n":1.50,"many":["\\x01",null],"none":null}"#;
        let forms = r#"{ "ts" : "z", "data" : "b", "many" : "b", "none" : "b" }"#;
        let expected = r#"{"id":9007199254740993,"ts":1795903800500,"data":"AP8=","note":"\\x00ff","n":1.50,"many":["AQ==",null],"none":null}"#;
        assert_eq!(decode(row.to_owned(), Some(forms), TimeForm::Epoch(1_000)), expected);
        assert_eq!(decode(row.to_owned(), None, TimeForm::Rfc3339), row);
    }
}
