//! The status page: one HTML file that reads `/status` every two seconds.

/// Self-contained; loads nothing from elsewhere.
pub(super) const PAGE: &str = include_str!("page.html");
